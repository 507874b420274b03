"""Training curves: what was logged at each validation, as a CSV of step, metric, value."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from harmony.core.digests import check_seal, write_with_seal
from harmony.core.errors import DamagedError

Curves = dict[str, list[tuple[int, float]]]  # metric -> (step, value), ascending


def read_curves(path: Path) -> Curves:
    """No file: no curves. Raises DamagedError where it is not what was written."""
    curves: Curves = defaultdict(list)
    if path.exists():
        check_seal(path)
        try:
            for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")):
                curves[row["metric"]].append((int(row["step"]), float(row["value"])))
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise DamagedError(path, f"no training curves ({error})") from error
    return curves


def add_to_curves(path: Path, step: int, values: Mapping[str, float]) -> None:
    """Add one point to each curve, in place of any at this step or later: a resumed run goes over its steps again."""
    curves = read_curves(path)
    rows = [(at, metric, value) for metric, points in curves.items() for at, value in points if at < step]
    rows += [(step, metric, value) for metric, value in values.items()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "metric", "value"])
    writer.writerows(sorted(rows))
    write_with_seal(path, text.getvalue())
