"""Result rows: one value per (method, domain, subject, metric). Everything reported is a view of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from harmony.core.digests import check_seal, write_with_seal
from harmony.core.errors import DataError

REFERENCE = "reference"  # the domain of untouched reference scans


@dataclass(frozen=True)
class Row:
    method: str
    domain: str
    subject: str
    metric: str
    value: float


COLUMNS = [f.name for f in fields(Row)]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(row) for row in rows)
    write_with_seal(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """Raises DataError, with the line, for a file with other columns, a value that is no number, or a row that is there
    twice: none of them is left out or overwritten in silence.
    DamagedError where it is not what was written."""
    check_seal(path)
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        columns = next(lines, [])
        if columns != COLUMNS:
            raise DataError(
                f"line 1: the columns are {','.join(columns) or 'none'}",
                cure=f"the columns of results are {','.join(COLUMNS)}; what else tells rows apart goes into the domain",
                path=path,
            )
        first: dict[Sequence[str], int] = {}
        return [_row(words, lines.line_num, first, path) for words in lines]


def _row(words: Sequence[str], line: int, first: dict[Sequence[str], int], path: Path) -> Row:
    """first: the line where each (method, domain, subject, metric) was seen."""
    if len(words) != len(COLUMNS) or not all(words):
        cure = f"each line needs {','.join(COLUMNS)}"
        raise DataError(f"line {line}: {len([word for word in words if word])} values", cure=cure, path=path)
    method, domain, subject, metric, text = words
    try:
        value = float(text)
    except ValueError as error:
        raise DataError(f"line {line}: value {text!r} is no number", cure="mend or delete it", path=path) from error
    key = (method, domain, subject, metric)
    if first.setdefault(key, line) != line:
        raise DataError(
            f"line {line}: {method}, {domain}, {subject}, {metric} is there twice, first in line {first[key]}",
            cure="keep one of them; what tells them apart goes into the domain",
            path=path,
        )
    return Row(method, domain, subject, metric, value)
