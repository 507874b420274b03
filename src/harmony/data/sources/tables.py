"""Tables that come with a data set: rows by column name, cells as values, and an error that names file and line."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony.core import DataError

UNKNOWN = {"", "n/a", "na", "nan", "none", "null", "unknown", "-", "--", "?", "."}  # after plain_dashes
DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))  # what word processors make of one
SEXES: dict[str, str | None] = {"f": "F", "female": "F", "m": "M", "male": "M"}
BIDS_SEXES = SEXES | {"o": None, "other": None}  # its standard's third value: we compare the two
CODED_SEXES: dict[str, str | None] = {"1": "M", "2": "F", "1.0": "M", "2.0": "F"}  # as ABIDE, IXI and OASIS-3 write it


@dataclass(frozen=True)
class Record:
    """One row. cells: column (lower case, stripped) -> text (stripped)."""

    path: Path
    line: int
    cells: Mapping[str, str]

    def text(self, *columns: str) -> str | None:
        """The first of the columns with a known value."""
        for column in columns:
            value = self.cells.get(column, "")
            if plain_dashes(value).lower() not in UNKNOWN:
                return value
        return None

    def needed(self, column: str) -> str:
        value = self.text(column)
        if value is None:
            raise self.error(f"column {column!r} is empty", "fill it in, or delete the line")
        return value

    def age(self, *columns: str) -> float | None:
        """A number of at least 0, in the unit of the column. `89+`, as de-identified tables write it, counts as 89."""
        text = self.text(*columns)
        if text is None:
            return None
        try:
            value = float(text.removesuffix("+"))
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise self.error(f"age {text!r} is not a number of at least 0", "write a number, or n/a")
        return value

    def sex(self, *columns: str, codes: Mapping[str, str | None] = SEXES) -> str | None:
        text = self.text(*columns)
        if text is None:
            return None
        if text.lower() not in codes:
            raise self.error(f"sex {text!r} is not one of {', '.join(codes)}", "correct it, or write n/a")
        return codes[text.lower()]

    def error(self, problem: str, cure: str, subject: str | None = None) -> DataError:
        return DataError(f"line {self.line}: {problem}", cure=cure, path=self.path, subject=subject)


def read_table(path: Path, *, needs: Sequence[str], hint: str) -> list[Record]:
    """The rows of a CSV (or, by its suffix, TSV) with a header, without empty lines and empty cells behind the last
    column. In a TSV a quote is a letter as any other, as BIDS has it; around a whole cell it goes.

    needs: columns (lower case) that must be there. hint: the cure where the file is missing or is something else.
    Raises DataError for a missing file, one that is no text table, a missing or repeated column, a row that is longer
    or shorter than the header.
    """
    if not path.is_file():
        raise DataError("no such table", cure=hint, path=path)
    if path.suffix.lower() in (".xls", ".xlsx", ".ods"):
        raise DataError("a spreadsheet, not a text table", cure=f"export the sheet as CSV; {hint}", path=path)
    try:
        lines = list(_lines(_text(path), tabs=path.suffix.lower() == ".tsv"))
    except (OSError, ValueError, csv.Error) as error:
        cure = f"save it as UTF-8 (in Excel: CSV UTF-8, or Unicode text); {hint}".rstrip("; ")
        raise DataError(f"not a text table ({error})", cure=cure, path=path) from error
    lines = [(number, row) for number, row in lines if any(row)]
    header = _cut([name.lower() for name in lines[0][1]], 0) if lines else []
    wrong = [name for name in needs if header.count(name) != 1] or sorted(
        {n for n in header if n and header.count(n) > 1}
    )
    if wrong:
        problem = f"column {wrong[0]!r} is there {header.count(wrong[0])} times"
        raise DataError(problem, cure=f"one header line with the columns {', '.join(needs)}", path=path)
    records = []
    for number, cells in lines[1:]:
        row = _cut(cells, len(header))
        if len(row) != len(header):
            problem = f"line {number} has {len(row)} cells, the header has {len(header)}"
            raise DataError(problem, cure="mend the line (a cell with a comma needs quotes)", path=path)
        records.append(Record(path, number, dict(zip(header, row, strict=True))))
    return records


def plain_dashes(text: str) -> str:
    return text.translate(DASHES)


def _lines(text: str, *, tabs: bool) -> Iterator[tuple[int, list[str]]]:
    """Line number (of its end, where quotes span lines) and cells."""
    if tabs:
        for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1):
            yield number, [_unquoted(cell.strip()) for cell in line.split("\t")]
    else:
        reader = csv.reader(io.StringIO(text, newline=""))
        for row in reader:
            yield reader.line_num, [cell.strip() for cell in row]


def _unquoted(cell: str) -> str:
    """Programs that know no BIDS (R's write.table) put every word in quotes."""
    whole = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1]
    return cell[1:-1].strip() if whole else cell


def _cut(row: list[str], length: int) -> list[str]:
    """Without empty cells at the end, as far as more than `length` are there."""
    while len(row) > length and not row[-1]:
        row = row[:-1]
    return row


def _text(path: Path) -> str:
    """UTF-8, or whatever a byte order mark says, as Excel writes it. Raises ValueError for others: to guess an encoding
    is to take one name for another."""
    raw = path.read_bytes()
    marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = raw.decode("utf-16" if marked else "utf-8-sig")
    if "\0" in text:
        raise ValueError("it holds zero bytes: UTF-16 without a mark?")
    return text


def people_table(path: Path, column: str, prefix: str, *, hint: str) -> dict[str, Record]:
    """The rows by identifier (with its prefix); empty where there is no such table: ages are then unknown."""
    return by_key(read_table(path, needs=(column,), hint=hint), column, prefix) if path.is_file() else {}


def by_key(records: Sequence[Record], column: str, prefix: str = "") -> dict[str, Record]:
    """The records by the text of a column, with or without `prefix` in the table. Raises DataError where two rows have
    the same."""
    found: dict[str, Record] = {}
    for record in records:
        key = prefix + record.needed(column).removeprefix(prefix)
        if key in found:
            raise record.error(f"{column} {key!r} was already on line {found[key].line}", "keep one line of the two")
        found[key] = record
    return found
