"""Result rows: one value per (method, domain, scan, metric). Everything reported is a view of them."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import fmean

from harmony.core.digests import check_seal, write_with_seal
from harmony.core.errors import DamagedError, DataError

REFERENCE = "reference"  # the domain of untouched reference scans

COLUMNS = ["method", "domain", "subject", "scan", "metric", "value"]
WITHOUT_SCAN = [name for name in COLUMNS if name != "scan"]  # of the time when every scan counted as a subject


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
    write_with_seal(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """Raises DataError, with the line, for a file with other columns, a value that is no number, or a row that is there
    twice: none of them is left out or overwritten in silence. Files without the column `scan` are of the time when a
    subject was a scan. Where there is no `path`, a packed `path`.gz is read; a large record is one.
    DamagedError where it is not what was written."""
    packed = path.with_name(f"{path.name}.gz")
    if not path.exists() and packed.exists():
        path = packed
    check_seal(path)
    try:
        return _rows(path)
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DamagedError(path, f"not a table ({error})") from error


def _rows(path: Path) -> list[Row]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        columns = next(lines, [])
        if columns not in (COLUMNS, WITHOUT_SCAN):
            raise DataError(
                f"line 1: the columns are {','.join(columns) or 'none'}",
                cure=f"the columns of results are {','.join(COLUMNS)}; what else tells rows apart goes into the domain",
                path=path,
            )
        first: dict[Sequence[str], int] = {}
        return [_row(columns, words, lines.line_num, first, path) for words in lines]


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


def _row(columns: Sequence[str], words: Sequence[str], line: int, first: dict[Sequence[str], int], path: Path) -> Row:
    """first: the line where each (method, domain, scan, metric) was seen."""
    if len(words) != len(columns) or not all(words):
        cure = f"each line needs {','.join(columns)}"
        raise DataError(f"line {line}: {len([word for word in words if word])} values", cure=cure, path=path)
    found = dict(zip(columns, words, strict=True))
    try:
        value = float(found["value"])
    except ValueError as error:
        problem = f"line {line}: value {found['value']!r} is no number"
        raise DataError(problem, cure="mend or delete it", path=path) from error
    row = Row(found["method"], found["domain"], found["subject"], found["metric"], value, found.get("scan", ""))
    key = (row.method, row.domain, row.scan, row.metric)
    if first.setdefault(key, line) != line:
        raise DataError(
            f"line {line}: {', '.join(key)} is there twice, first in line {first[key]}",
            cure="keep one of them; what tells them apart goes into the domain",
            path=path,
        )
    return row
