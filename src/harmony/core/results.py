"""Result rows: one value per (method, domain, scan, metric). Everything reported is a view of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import fmean

from harmony.core.files import write_atomic

REFERENCE = "reference"  # the domain of untouched reference scans


COLUMNS = ("method", "domain", "subject", "scan", "metric", "value")


@dataclass(frozen=True)
class Row:
    """subject: the person. scan: which of the person's scans; the subject's own name where there is one only."""

    method: str
    domain: str
    subject: str
    metric: str
    value: float
    scan: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scan", self.scan or self.subject)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(row, column) for column in COLUMNS] for row in rows)
    write_atomic(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """Files without the column `scan` are of the time when a subject was a scan."""
    with path.open(newline="") as file:
        return [
            Row(r["method"], r["domain"], r["subject"], r["metric"], float(r["value"]), r.get("scan") or "")
            for r in csv.DictReader(file)
        ]


def by_subject(rows: Iterable[Row]) -> dict[tuple[str, str, str], dict[str, float]]:
    """(method, domain, metric) -> subject -> mean over the subject's scans: what is counted is people.

    Scans whose value is NaN are left out of the mean; NaN where all are.
    """
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for row in rows:
        found.setdefault((row.method, row.domain, row.metric), {}).setdefault(row.subject, []).append(row.value)
    return {key: {name: _mean(each) for name, each in subjects.items()} for key, subjects in found.items()}


def _mean(values: list[float]) -> float:
    kept = [value for value in values if not isnan(value)]
    return fmean(kept) if kept else nan
