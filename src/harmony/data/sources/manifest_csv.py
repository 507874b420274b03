"""A data set as one table that you write: a line a scan."""

from __future__ import annotations

import re
from pathlib import Path

from harmony.core import DataError, Scan
from harmony.core.contrasts import T1W, contrast_of
from harmony.data.sources.folders import one_each, path_or_none
from harmony.data.sources.tables import Record, read_table

COLUMNS = ("path", "subject", "session", "site", "scanner", "age", "sex", "mask", "labels", "split")
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # becomes part of file names


class CsvManifest:
    """The scans of a CSV (or TSV) table: columns `path` and `subject`, and where known
    `session, site, scanner, age, sex, mask, labels, split`. Empty cells are unknown.

    Files are relative to the table. age: years. sex: F or M. split: train, val or test, for all scans or for none; it
    then replaces the random split.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = path_or_none(path)

    def scans(self) -> list[Scan]:
        """The scans, ordered by name. Raises DataError for an unknown column, a missing file, a repeated scan."""
        hint = f"data.path=/path/to/table.csv with the columns {', '.join(COLUMNS)}; only path and subject are needed"
        if self.path is None:
            raise DataError("no table was given", cure=hint)
        records = read_table(self.path, needs=("path", "subject"), hint=hint)
        if not records:
            raise DataError("the table has no line", cure="add a line per scan", path=self.path)
        unknown = sorted(set(records[0].cells) - set(COLUMNS))
        if unknown:
            problem = f"unknown columns: {', '.join(map(repr, unknown))}"
            raise DataError(problem, cure=f"the columns are {', '.join(COLUMNS)}", path=self.path)
        return one_each(
            (_scan(self.path.parent, each) for each in records), "give each scan of a subject its own `session`"
        )


def _scan(folder: Path, record: Record) -> Scan:
    subject, session = record.needed("subject"), record.text("session")
    for name in (subject, session):
        if name is not None and not PLAIN.fullmatch(name):
            raise record.error(f"{name!r} cannot be part of a file name", "use letters, digits, '.', '_' and '-'")
    files = {column: _file(folder, record, column, subject) for column in ("path", "mask", "labels")}
    path = files.pop("path")
    if path is None:
        raise record.error("column 'path' is empty", "fill it in, or delete the line", subject)
    return Scan(
        path=path,
        contrast=contrast_of(path) or T1W,
        subject=subject,
        session=session,
        site=record.text("site"),
        scanner=record.text("scanner"),
        age=record.age("age"),
        sex=record.sex("sex"),
        split=record.text("split"),
        mask=files["mask"],
        labels=files["labels"],
    )


def _file(folder: Path, record: Record, column: str, subject: str) -> Path | None:
    text = record.text(column)
    if text is None:
        return None
    path = folder / Path(text).expanduser()
    if not path.exists():
        cure = "paths are relative to the table's folder, or absolute"
        raise record.error(f"{column}: no such file {path}", cure, subject)
    return path
