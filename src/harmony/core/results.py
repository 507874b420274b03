"""Result rows: one value per (method, domain, subject, metric). Everything reported is a view of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from harmony.core.digests import check_seal, write_with_seal

REFERENCE = "reference"  # the domain of untouched reference scans


@dataclass(frozen=True)
class Row:
    method: str
    domain: str
    subject: str
    metric: str
    value: float


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f.name for f in fields(Row)])
    writer.writerows(astuple(row) for row in rows)
    write_with_seal(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """Raises DamagedError where it is not the table that was written."""
    check_seal(path)
    with path.open(newline="") as file:
        return [
            Row(r["method"], r["domain"], r["subject"], r["metric"], float(r["value"])) for r in csv.DictReader(file)
        ]
