"""Who the scans of a BIDS folder are of: participants.tsv, and the sessions.tsv of each subject."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from harmony.core import DataError, Scan
from harmony.data.sources.tables import BIDS_SEXES, Record, plain_dashes, read_table

T = TypeVar("T")
TABLE = "participants.tsv"
HINT = "or delete it: ages and sexes are then unknown"
SESSION = ("session_id", "session")  # columns of participants.tsv with a row a session
COLUMNS = ("age", "sex", "site", "scanner")


@dataclass(frozen=True)
class Person:
    """At one session; None where nobody says. age: years. sex: F or M."""

    age: float | None = None
    sex: str | None = None
    site: str | None = None
    scanner: str | None = None


@dataclass(frozen=True)
class People:
    """rows: subject -> its rows in participants.tsv. root: of the data set, with `sub-X/sub-X_sessions.tsv`; None for a
    table that nobody asks."""

    root: Path | None = None
    rows: dict[str, list[Record]] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path) -> People:
        """Raises DataError for a table that cannot be read, or two rows of one subject (and session) that disagree."""
        rows: dict[str, list[Record]] = {}
        if not (root / TABLE).is_file():
            return cls(root)
        for record in read_table(root / TABLE, needs=("participant_id",), hint=HINT):
            subject = _label("sub-", record.needed("participant_id"))
            for former in rows.setdefault(subject, []):
                if _session(former) == _session(record) and _facts(former) != _facts(record):
                    raise record.error(
                        f"participant_id {subject!r} was already on line {former.line}", "keep one line of the two"
                    )
            rows[subject].append(record)
        return cls(root, rows)

    def at(self, subject: str, session: str | None) -> Person:
        """Each fact from the first that knows it: sessions.tsv; the row of this session; what all rows of the subject
        agree on (but no age: that belongs to a session). Raises DataError for an age or sex that is none."""
        rows = self.rows.get(subject, [])
        visits = {_session(row) for row in rows}
        whole = visits == {None} or (session is None and len(rows) == 1)
        own = rows[:1] if whole else [row for row in rows if session is not None and _session(row) == session][:1]
        told = [*self._visit(subject, session), *own, *_agreed(rows)]
        return Person(
            age=_first(row.age("age") for row in told),
            sex=_first(row.sex("sex", codes=BIDS_SEXES) for row in told),
            site=_first(row.text("site") for row in told),
            scanner=_first(row.text("scanner") for row in told),
        )

    def check(self, scans: list[Scan]) -> None:
        """Raises DataError for a table that is of other subjects altogether."""
        if self.root and self.rows and scans and not any(scan.subject in self.rows for scan in scans):
            raise DataError(
                f"none of {len(self.rows)} rows matches a scan: the first is of {next(iter(self.rows))}, the first "
                f"scan of {scans[0].subject}",
                cure="write participant_id as the folders are named",
                path=self.root / TABLE,
            )

    def strangers(self) -> list[DataError]:
        """The rows of subjects that have no folder."""
        if self.root is None:
            return []
        gone = [rows[0] for subject, rows in self.rows.items() if not (self.root / subject).is_dir()]
        cure = "add the folder, or write participant_id as it is named"
        return [row.error(f"no folder of {row.cells['participant_id']!r}", cure) for row in gone]

    def _visit(self, subject: str, session: str | None) -> list[Record]:
        """The row of sub-X_sessions.tsv, if there is one."""
        path = None if self.root is None else self.root / subject / f"{subject}_sessions.tsv"
        if path is None or session is None or not path.is_file():
            return []
        rows = read_table(path, needs=("session_id",), hint=HINT)
        mine = [row for row in rows if _label("ses-", row.needed("session_id")) == session]
        for row in mine[1:]:
            if _facts(row) != _facts(mine[0]):
                raise row.error(
                    f"session_id {session!r} was already on line {mine[0].line}", "keep one line of the two"
                )
        return mine[:1]


def _label(prefix: str, text: str) -> str:
    return prefix + plain_dashes(text).removeprefix(prefix)


def _session(record: Record) -> str | None:
    text = record.text(*SESSION)
    return None if text is None else _label("ses-", text)


def _facts(record: Record) -> list[str | None]:
    return [record.text(column) for column in COLUMNS]


def _agreed(rows: list[Record]) -> list[Record]:
    """One row of the facts that are the same in all rows, without an age."""
    if not rows:
        return []
    same = {name for name in COLUMNS if len({row.text(name) for row in rows}) == 1} - {"age"}
    return [replace(rows[0], cells={name: rows[0].cells.get(name, "") for name in same})]


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)
