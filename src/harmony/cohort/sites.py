"""Which scan is of which site: by a column of participants.tsv or sessions.tsv, by the sidecars, or by the folder."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harmony.core import ConfigError, DataError, Scan
from harmony.data import BidsFolder
from harmony.data.sources.tables import people_table

SCANNER, FOLDER = "scanner", "folder"  # what is no column
FIELDS = ("Manufacturer", "ManufacturersModelName", "MagneticFieldStrength")  # of the sidecar
SERIAL = "DeviceSerialNumber"
TABLE = "participants.tsv"
APART = 15.0  # years between two scans of one person, at most
HINT = "a tab-separated table with participant_id"


@dataclass(frozen=True)
class Sites:
    """The scans of a study, each with its site. folders: the BIDS folders that they are of, one for each part of the
    output. reference: the site whose scanner the others are brought to."""

    scans: list[Scan]
    folders: Mapping[str, Path]
    reference: str

    def of(self, site: str) -> list[Scan]:
        return [scan for scan in self.scans if scan.site == site]

    def part(self, scan: Scan) -> str:
        """The name of the folder that a scan is in."""
        return next(name for name, folder in self.folders.items() if folder in scan.path.parents)

    @property
    def counts(self) -> dict[str, int]:
        """Site -> scans, the reference first."""
        counted = Counter(scan.site or "" for scan in self.scans)
        return {name: counted[name] for name in sorted(counted, key=lambda name: (name != self.reference, name))}


def find_sites(root: Path, asked: str, *, participants: Sequence[str] | None, mask: str | None) -> Sites:
    """asked: COLUMN=SITE of the reference; the column may be `scanner` (manufacturer, model and field of the sidecars)
    or `folder` (root holds a BIDS folder for each site). mask: the pattern of brain masks, None for none.

    Raises ConfigError for words of another form, a site that is not there or one site alone, and for two names of one
    site; DataError for a column that is not there and for scans without a site.
    """
    column, equals, reference = asked.partition("=")
    if not (column and equals and reference):
        raise ConfigError(f"reference={asked}: not COLUMN=SITE -> say whose scanner the others go to: reference=site=A")
    if column == FOLDER:
        folders = {path.name: path for path in sorted(root.iterdir()) if any(path.glob("sub-*"))}
        chosen = {name: _listed(path, participants, mask) for name, path in folders.items()}
        scans = [replace(scan, site=name) for name, own in chosen.items() for scan in own]
    else:
        folders, read = {"": root}, _by_sidecar if column == SCANNER else _by_column(root, column)
        scans = [replace(scan, site=read(scan)) for scan in _listed(root, participants, mask)]
    sites = Sites(scans, folders, reference)
    _check(sites, asked)
    return sites


def _listed(root: Path, participants: Sequence[str] | None, mask: str | None) -> list[Scan]:
    listing = BidsFolder(root, mask=mask).listing()
    return listing.chosen(participants=participants, sessions=None, skip_bad=False)[0]


def _by_column(root: Path, column: str) -> Callable[[Scan], str]:
    """Of the session's row, where its table has the column, else of the person's."""
    people = people_table(root / TABLE, "participant_id", "sub-", hint=HINT)
    columns = list(next(iter(people.values())).cells) if people else []
    sessions: dict[str, dict[str, str]] = defaultdict(dict)
    for path in root.glob("sub-*/sub-*_sessions.tsv"):
        for name, row in people_table(path, "session_id", "ses-", hint="a tab-separated table with session_id").items():
            if (value := row.text(column.lower())) is not None:
                sessions[path.parent.name][name] = value
    if column.lower() not in columns and not sessions:
        there = f"there are {', '.join(columns)}" if columns else "there is no such table"
        cure = "say another column, reference=scanner=... (sidecars) or reference=folder=..."
        raise DataError(f"no column {column!r}; {there}", cure=cure, path=root / TABLE)

    def site(scan: Scan) -> str:
        row = people.get(scan.subject)
        value = sessions[scan.subject].get(scan.session or "") or (row and row.text(column.lower()))
        if not value:
            cure = f"fill in {column}, or leave the person out with participants="
            raise DataError(f"no {column}", cure=cure, path=root / TABLE, subject=scan.subject)
        return value

    return site


def _by_sidecar(scan: Scan) -> str:
    about = sidecar(scan)
    known = [str(about[field]) for field in FIELDS if about.get(field)]
    if not known:
        cure = f"a JSON sidecar with {', '.join(FIELDS)}, or another column: reference=COLUMN=SITE"
        raise DataError("no sidecar that says the scanner", cure=cure, path=scan.path, subject=scan.subject)
    return " ".join(known)


def sidecar(scan: Scan) -> Mapping[str, object]:
    """The JSON beside the scan; empty where there is none. Raises DataError where it is no JSON object."""
    path = scan.path.with_name(re.sub(r"\.nii(\.gz)?$", ".json", scan.path.name))
    try:
        about = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        cure = "mend or delete the sidecar"
        raise DataError(f"not JSON ({error})", cure=cure, path=path, subject=scan.subject) from error
    if not isinstance(about, dict):
        raise DataError("no JSON object", cure="mend or delete the sidecar", path=path, subject=scan.subject)
    return about


def _check(sites: Sites, asked: str) -> None:
    counts = sites.counts
    there = ", ".join(f"{name} ({count})" for name, count in counts.items())
    if sites.reference not in counts:
        raise ConfigError(f"reference={asked}: no scan is of {sites.reference!r}; there are {there}")
    if len(counts) < 2:
        raise ConfigError(f"reference={asked}: all scans are of {there} -> a study needs two sites")
    for names, why in _one_scanner(sites):
        raise ConfigError(f"reference={asked}: {' and '.join(names)} {why} -> give them one name")
    for subject, why in _two_people(sites.scans):
        raise ConfigError(f"{subject} {why} -> give two people two ids, or mend the table")


def _one_scanner(sites: Sites) -> Iterator[tuple[list[str], str]]:
    """Two names of one scanner."""
    alike: dict[str, set[str]] = defaultdict(set)
    serials: dict[str, set[str]] = defaultdict(set)
    for scan in sites.scans:
        site = scan.site or ""
        alike[re.sub(r"[\W_]+", "", site.casefold())].add(site)
        if serial := sidecar(scan).get(SERIAL):
            serials[str(serial)].add(site)
    yield from ((sorted(names), "differ in spelling only") for names in alike.values() if len(names) > 1)
    for serial, names in serials.items():
        if len(names) > 1:
            yield sorted(names), f"are one scanner, {SERIAL} {serial}"


def _two_people(scans: Sequence[Scan]) -> Iterator[tuple[str, str]]:
    """One id of two people: years apart, or of both sexes."""
    people: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        people[scan.subject].append(scan)
    for subject, own in people.items():
        ages = [scan.age for scan in own if scan.age is not None]
        if ages and max(ages) - min(ages) > APART:
            yield subject, f"is {min(ages):g} and {max(ages):g} years old"
        if len({scan.sex for scan in own if scan.sex}) > 1:
            yield subject, "is a man and a woman"
