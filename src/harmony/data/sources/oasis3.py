"""OASIS-3: ageing adults on several Siemens scanners, some of them on two; the data of BlindHarmony."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harmony.core import DataError, Scan
from harmony.data.sources.folders import NIFTI, Named, checked_root, companion, natural, path_or_none, visible
from harmony.data.sources.tables import CODED_SEXES, SEXES, Record, by_key, people_table, read_table

log = logging.getLogger(__name__)
XNAT = re.compile(r"(?P<subject>OAS3\d{4})_MR_d(?P<day>\d{4,5})")
SUBJECT, SESSION = re.compile(r"sub-(OAS3\d{4})"), re.compile(r"ses-d(\d{4,5})")
DAYS_PER_YEAR = 365.25
MODEL = ("manufacturersmodelname", "scanner", "scanner model")
SHEETS = "the OASIS-3 project page offers the sheets as CSV"


@dataclass(frozen=True)
class _Session:
    subject: str
    day: int  # since the subject's entry into the study
    label: str  # as the sheets write it: OAS30001_MR_d0129
    image: Path
    scanner: str | None


class Oasis3:
    """T1w scans of OASIS-3, one per session, as XNAT downloads them or as its BIDS form:

        OAS30001_MR_d0129/anat2/NIFTI/*_T1w.nii.gz     (sidecar: beside it, or anat2/BIDS/*.json)
        sub-OAS30001/ses-d0129/anat/*_T1w.nii.gz

    Of several T1w images of a session the first one (lowest run, then lowest anat number) is kept.

    scanner: keep the sessions of this scanner, a part of its name without regard to case ("TrioTim"); None for all.
    metadata: CSV by session (`label` or `MR ID`), with the scanner where the sidecar has none and `age` in years.
    demographics: CSV by subject (`OASISID`), with `AgeatEntry` in years and `GENDER` (1 = male, 2 = female).
    Both relative to the root. Age at a session: that of the metadata; else age at entry plus the days since; else `age`
    of participants.tsv, for subjects with one session.
    labels, mask: as for BidsFolder; `{subject}` is `sub-OAS30001` and `{session}` is `ses-d0129` in both layouts.
    """

    def __init__(
        self,
        root: str | Path | None,
        *,
        scanner: str | None = "TrioTim",
        metadata: str | Path | None = None,
        demographics: str | Path | None = None,
        labels: str | None = None,
        mask: str | None = None,
    ) -> None:
        self.root, self.scanner = path_or_none(root), scanner
        self.metadata, self.demographics = metadata, demographics
        self.labels, self.mask = labels, mask

    def scans(self) -> list[Scan]:
        """The scans of `scanner`, ordered by name. Raises DataError for none, and where no scanner is known."""
        scans = self._all()
        if self.scanner is None:
            return scans
        unknown = [scan for scan in scans if scan.scanner is None]
        if len(unknown) == len(scans):
            cure = "download the JSON sidecars (resource BIDS), or give data.metadata=, or data.scanner=null"
            raise DataError("the scanner of no session is known", cure=cure, path=self.root)
        if unknown:
            log.warning("%d sessions of unknown scanner left out, the first: %s", len(unknown), unknown[0].path)
        chosen = [scan for scan in scans if is_scanner(scan, self.scanner)]
        if not chosen:
            names = ", ".join(sorted({scan.scanner for scan in scans if scan.scanner}))
            raise DataError(
                f"no session of the scanner {self.scanner!r}", cure=f"data.scanner= one of: {names}", path=self.root
            )
        return chosen

    def _all(self) -> list[Scan]:
        root = checked_root(self.root, "OASIS3")
        by_session, by_subject = self._tables(root)
        sessions = list(_sessions(root))
        if not sessions:
            cure = "point data.root= at the folder that holds the OAS3xxxx_MR_dxxxx (or sub-OAS3xxxx) folders"
            raise DataError("no OASIS-3 session with a T1w image below this folder", cure=cure, path=root)
        visits = [session.subject for session in sessions]
        scans: dict[str, Scan] = {}
        for each in sessions:
            about = by_session.get(each.label), by_subject.get(each.subject)
            scan = self._scan(root, each, *about, only=visits.count(each.subject) == 1)
            if scan.name in scans:
                cure = "keep one of the two folders"
                raise DataError("the session is there twice", cure=cure, path=scan.path, subject=scan.subject)
            scans[scan.name] = scan
        return [scans[name] for name in sorted(scans)]

    def _scan(self, root: Path, each: _Session, visit: Record | None, who: Record | None, *, only: bool) -> Scan:
        subject, session = f"sub-{each.subject}", f"ses-d{each.day:04d}"
        return Scan(
            path=each.image,
            subject=subject,
            session=session,
            site="OASIS-3",
            scanner=each.scanner or (visit.text(*MODEL) if visit else None),
            age=_age(each, visit, who, only=only),
            sex=who.sex("gender", "sex", "m/f", codes=SEXES | CODED_SEXES) if who else None,
            mask=companion(root, self.mask, Named(subject, session), "mask", needed=True),
            labels=companion(root, self.labels, Named(subject, session), "labels", needed=False),
        )

    def _tables(self, root: Path) -> tuple[dict[str, Record], dict[str, Record]]:
        """Session label -> row, subject -> row. The MR sheet has a row per image: the first of a session counts."""
        by_session: dict[str, Record] = {}
        if self.metadata is not None:
            for record in read_table(root / Path(self.metadata).expanduser(), needs=(), hint=SHEETS):
                label = record.text("label", "mr id", "mr_id", "session_id")
                if label is None:
                    raise record.error("no session", "name the column of OAS3xxxx_MR_dxxxx `label`, and fill it in")
                by_session.setdefault(label, record)
        if self.demographics is not None:
            path = root / Path(self.demographics).expanduser()
            return by_session, by_key(read_table(path, needs=("oasisid",), hint=SHEETS), "oasisid")
        by_subject = people_table(root / "participants.tsv", "participant_id", "sub-", hint=SHEETS)
        return by_session, {name.removeprefix("sub-"): who for name, who in by_subject.items()}


def is_scanner(scan: Scan, name: str) -> bool:
    """Whether `name` is a part of the scan's scanner, letters and digits compared only."""
    return _plain(name) in _plain(scan.scanner or "")


def _sessions(root: Path) -> Iterator[_Session]:
    """Every session with a T1w image, in both layouts."""
    for folder in sorted(root.iterdir()):
        match = XNAT.fullmatch(folder.name)
        if match:
            yield from _session(match["subject"], int(match["day"]), _images(folder.glob("anat*/NIFTI/*_T1w.nii*")))
        who = SUBJECT.fullmatch(folder.name)
        for place in sorted(folder.glob("ses-*/anat")) if who else []:
            visit = SESSION.fullmatch(place.parent.name)
            if who and visit:
                yield from _session(who[1], int(visit[1]), _images(place.glob("*_T1w.nii*")))


def _session(subject: str, day: int, images: list[Path]) -> Iterator[_Session]:
    if images:
        yield _Session(subject, day, f"{subject}_MR_d{day:04d}", images[0], _sidecar_scanner(images[0], subject))


def _images(found: Iterator[Path]) -> list[Path]:
    """First run first; hidden files, sidecar names and half downloads left out."""
    return sorted((path for path in visible(found) if path.name.endswith(NIFTI)), key=lambda p: (_run(p), natural(p)))


def _run(path: Path) -> int:
    match = re.search(r"_run-(\d+)", path.name)
    return int(match[1]) if match else 0


def _sidecar_scanner(image: Path, subject: str) -> str | None:
    """Manufacturer and model of the JSON sidecar; None without one, or without the model."""
    name = image.name.split(".nii")[0] + ".json"
    for path in (image.with_name(name), image.parents[1] / "BIDS" / name):
        if path.is_file():
            try:
                about = json.loads(path.read_text(encoding="utf-8"))
                model, maker = about.get("ManufacturersModelName"), about.get("Manufacturer")
            except (ValueError, AttributeError) as error:
                cure = "download the sidecar again, or delete it"
                raise DataError(f"not a JSON sidecar ({error})", cure=cure, path=path, subject=subject) from error
            return f"{maker} {model}" if model and maker else model
    return None


def _age(each: _Session, visit: Record | None, who: Record | None, *, only: bool) -> float | None:
    at_visit = visit.age("age", "age at visit") if visit else None
    at_entry = who.age("ageatentry") if who else None
    if at_visit is not None:
        return at_visit
    if at_entry is not None:
        return round(at_entry + each.day / DAYS_PER_YEAR, 2)
    return who.age("age") if who and only else None


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
