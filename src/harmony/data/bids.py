"""Any BIDS folder as a data set."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from harmony.core import ConfigError, DataError, Scan
from harmony.core.contrasts import contrast_of, known_contrast
from harmony.data.folders import checked_root, companion
from harmony.data.tables import SEXES, UNKNOWN

NAME = re.compile(r"(?P<subject>sub-[A-Za-z0-9]+)(_(?P<session>ses-[A-Za-z0-9]+))?(_[a-z]+-[A-Za-z0-9]+)*")


class BidsFolder:
    """Scans of one contrast of a BIDS folder: `sub-*/[ses-*/]anat/*_T1w.nii[.gz]`, one per subject and session.

    labels, mask, lesions: where a scan's label map, brain mask and lesion mask are, relative to the root, with
    `{subject}` (and `{session}`) and glob wildcards, e.g. `derivatives/dlmuse/{subject}/anat/*_dseg.nii.gz`; None where
    there are none.
    suffix: the BIDS suffix of the images, which is their contrast: T1w, T2w, FLAIR or PDw.
    """

    def __init__(
        self,
        root: str | Path | None,
        *,
        labels: str | None = None,
        mask: str | None = None,
        lesions: str | None = None,
        suffix: str = "T1w",
    ) -> None:
        self.root = None if root is None else Path(root).expanduser()
        self.labels, self.mask, self.lesions, self.suffix = labels, mask, lesions, known_contrast(suffix)

    def scans(self) -> list[Scan]:
        """All scans, ordered by name. Raises DataError for none, or more than one of a subject and session."""
        root = checked_root(self.root, "BIDS")
        people = read_participants(root / "participants.tsv")
        scans: dict[str, Scan] = {}
        for path in self._images(root):
            scan = self._scan(root, path, people)
            if scan.name in scans:
                raise DataError(
                    f"more than one {self.suffix} image of {scan.name}: {scans[scan.name].path.name} and {path.name}",
                    cure="keep one per subject and session below data.root=",
                    path=path,
                    subject=scan.subject,
                )
            scans[scan.name] = scan
        self._check_found(list(scans.values()), root)
        return [scans[name] for name in sorted(scans)]

    def _images(self, root: Path) -> list[Path]:
        folders = [*root.glob("sub-*/anat"), *root.glob("sub-*/ses-*/anat")]
        ends = (f"_{self.suffix}.nii", f"_{self.suffix}.nii.gz")
        return sorted(path for folder in folders for path in folder.iterdir() if path.name.endswith(ends))

    def _scan(self, root: Path, path: Path, people: dict[str, dict[str, str]]) -> Scan:
        match = NAME.fullmatch(path.name.split(f"_{self.suffix}.nii")[0])
        if match is None or match["subject"] != path.relative_to(root).parts[0]:
            cure = "name it sub-X[_ses-Y]_T1w.nii.gz below sub-X[/ses-Y]/anat of data.root="
            raise DataError("not a BIDS file name", cure=cure, path=path)
        subject, session = match["subject"], match["session"]
        row = people.get(subject, {})
        return Scan(
            path=path,
            subject=subject,
            session=session,
            site=_text(row.get("site")),
            scanner=_text(row.get("scanner")),
            age=_age(row.get("age"), subject, root),
            sex=SEXES.get((row.get("sex") or "").strip().lower()),
            mask=companion(root, self.mask, subject, session, "mask", needed=True),
            labels=companion(root, self.labels, subject, session, "labels", needed=False),
            lesions=companion(root, self.lesions, subject, session, "lesions", needed=False),
            contrast=self.suffix,
        )

    def _check_found(self, scans: list[Scan], root: Path) -> None:
        if not scans:
            others = {contrast_of(path) for path in root.glob("sub-*/**/anat/*")} - {None, self.suffix}
            there = f", but images of {', '.join(sorted(filter(None, others)))}" if others else ""
            raise DataError(
                f"no sub-*/[ses-*/]anat/*_{self.suffix}.nii[.gz] below this folder{there}",
                cure="point data.root= at the folder that holds the sub-* folders",
                path=root,
            )
        if self.labels is not None and not any(scan.labels for scan in scans):
            cure = "correct data.labels=, or set data.labels=null"
            raise DataError(f"no label map matches {self.labels!r}", cure=cure, path=root)
        if self.lesions is not None and not any(scan.lesions for scan in scans):
            cure = "correct data.lesions=, or set data.lesions=null"
            raise DataError(f"no lesion mask matches {self.lesions!r}", cure=cure, path=root)


def chosen(scans: list[Scan], *, participants: Iterable[str] | None, sessions: Iterable[str] | None) -> list[Scan]:
    """Of the scans, those of some subjects and sessions (with or without `sub-`, `ses-`); None for all.

    Raises ConfigError for a label that no scan has, so that a slip of the pen is no smaller data set.
    """
    for key, prefix, of, labels in (
        ("participants", "sub-", lambda scan: scan.subject, participants),
        ("sessions", "ses-", lambda scan: scan.session, sessions),
    ):
        if labels is None:
            continue
        wanted = [prefix + str(label).removeprefix(prefix) for label in labels]
        there = {of(scan) for scan in scans}
        missing = [label for label in wanted if label not in there]
        if missing:
            known = ", ".join(sorted(label for label in there if label)) or "none"
            raise ConfigError(f"{key}: no scan of {', '.join(missing)}; there are {known}")
        scans = [scan for scan in scans if of(scan) in wanted]
    return scans


def read_participants(path: Path) -> dict[str, dict[str, str]]:
    """participants.tsv as subject (with `sub-`) -> column (lower case) -> text; empty where there is no such file."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [
            {(k or "").strip().lower(): v or "" for k, v in row.items()} for row in csv.DictReader(file, delimiter="\t")
        ]
    if rows and "participant_id" not in rows[0]:
        raise DataError(
            "no column participant_id", cure="name the first column participant_id, tab-separated", path=path
        )
    return {"sub-" + row["participant_id"].strip().removeprefix("sub-"): row for row in rows}


def _text(value: str | None) -> str | None:
    return None if value is None or value.strip().lower() in UNKNOWN else value.strip()


def _age(value: str | None, subject: str, root: Path) -> float | None:
    """Years. `89+`, as de-identified tables write it, counts as 89."""
    text = _text(value)
    if text is None:
        return None
    try:
        return float(text.removesuffix("+"))
    except ValueError:
        cure = "write years as a number, or n/a"
        raise DataError(
            f"age {text!r} is not a number", cure=cure, path=root / "participants.tsv", subject=subject
        ) from None
