"""Any BIDS folder as a data set."""

from __future__ import annotations

import re
from pathlib import Path

from harmony.core import DataError, Scan
from harmony.data.sources.folders import checked_root, companion, path_or_none
from harmony.data.sources.tables import BIDS_SEXES, Record, people_table

HINT = "or delete it: ages and sexes are then unknown"
NAME = re.compile(r"(?P<subject>sub-[A-Za-z0-9]+)(_(?P<session>ses-[A-Za-z0-9]+))?(_[a-z]+-[A-Za-z0-9]+)*")


class BidsFolder:
    """T1-weighted scans of a BIDS folder: `sub-*/[ses-*/]anat/*_T1w.nii[.gz]`, one per subject and session.

    labels, mask, lesions: where a scan's label map, brain mask and lesion mask are, relative to the root, with
    `{subject}` (and `{session}`) and glob wildcards, e.g. `derivatives/dlmuse/{subject}/anat/*_dseg.nii.gz`; None where
    there are none.
    suffix: the BIDS suffix of the images.
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
        self.root = path_or_none(root)
        self.labels, self.mask, self.lesions, self.suffix = labels, mask, lesions, suffix

    def scans(self) -> list[Scan]:
        """All scans, ordered by name. Raises DataError for none, or more than one of a subject and session."""
        root = checked_root(self.root, "BIDS")
        people = people_table(root / "participants.tsv", "participant_id", "sub-", hint=HINT)
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

    def _scan(self, root: Path, path: Path, people: dict[str, Record]) -> Scan:
        match = NAME.fullmatch(path.name.split(f"_{self.suffix}.nii")[0])
        if match is None or match["subject"] != path.relative_to(root).parts[0]:
            cure = "name it sub-X[_ses-Y]_T1w.nii.gz below sub-X[/ses-Y]/anat of data.root="
            raise DataError("not a BIDS file name", cure=cure, path=path)
        subject, session = match["subject"], match["session"]
        who = people.get(subject)
        return Scan(
            path=path,
            subject=subject,
            session=session,
            site=who.text("site") if who else None,
            scanner=who.text("scanner") if who else None,
            age=who.age("age") if who else None,
            sex=who.sex("sex", codes=BIDS_SEXES) if who else None,
            mask=companion(root, self.mask, subject, session, "mask", needed=True),
            labels=companion(root, self.labels, subject, session, "labels", needed=False),
            lesions=companion(root, self.lesions, subject, session, "lesions", needed=False),
        )

    def _check_found(self, scans: list[Scan], root: Path) -> None:
        if not scans:
            raise DataError(
                f"no sub-*/[ses-*/]anat/*_{self.suffix}.nii[.gz] below this folder",
                cure="point data.root= at the folder that holds the sub-* folders",
                path=root,
            )
        if self.labels is not None and not any(scan.labels for scan in scans):
            cure = "correct data.labels=, or set data.labels=null"
            raise DataError(f"no label map matches {self.labels!r}", cure=cure, path=root)
        if self.lesions is not None and not any(scan.lesions for scan in scans):
            cure = "correct data.lesions=, or set data.lesions=null"
            raise DataError(f"no lesion mask matches {self.lesions!r}", cure=cure, path=root)
