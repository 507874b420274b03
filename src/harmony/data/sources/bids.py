"""Any BIDS folder as a data set."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harmony.core import ConfigError, DataError, Scan
from harmony.core.contrasts import contrast_of, known_contrast
from harmony.data.sources.folders import Named, checked_root, companion, path_or_none, visible
from harmony.data.sources.left_out import left_out, special
from harmony.data.sources.people import People
from harmony.data.volumes.nifti import DCM2NIIX, dicom_below

log = logging.getLogger(__name__)
FEW = 5  # that are left out are named without being asked
NAME = re.compile(
    r"(?P<subject>sub-[A-Za-z0-9]+)(_(?P<session>ses-[A-Za-z0-9]+))?(_(?P<variant>[a-z]+-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9]+)*))?"
)


@dataclass(frozen=True)
class Listing:
    """scans: those that can be named, in order; bad: what is wrong with others; left_out: what else lies there, or is
    missing, and is no mistake of the command."""

    scans: list[Scan]
    bad: list[DataError]
    left_out: list[DataError]

    def chosen(
        self, *, participants: Iterable[str] | None, sessions: Iterable[str] | None, skip_bad: bool
    ) -> tuple[list[Scan], list[DataError]]:
        """Those of some subjects and sessions, as `chosen`. Raises the first bad one of these subjects (or of nobody in
        particular), unless they are to be skipped and there are others."""
        wanted = None if participants is None else {None, *_labels("sub-", participants)}
        bad = [error for error in self.bad if wanted is None or error.subject in wanted]
        if bad and not (skip_bad and self.scans):
            raise bad[0]
        scans = chosen(self.scans, participants=participants, sessions=sessions)
        self.tell(wanted)
        return scans, bad

    def tell(self, wanted: set[str | None] | None = None) -> None:
        """The log has how many are left out (of some subjects), and the first few."""
        told = [error for error in self.left_out if wanted is None or error.subject in wanted]
        if told:
            lines = "".join(f"\n  {error}" for error in told[:FEW]) + ("\n  ..." if len(told) > FEW else "")
            log.warning("%d images or subjects left out (harmony check names each):%s", len(told), lines)


class BidsFolder:
    """Scans of one contrast of a BIDS folder: `sub-*/[ses-*/]anat/*_T1w.nii[.gz]`. Runs and acquisitions of a
    session (`run-`, `acq-` and other entities) are scans of their own.

    labels, mask, lesions: where a scan's label map, brain mask and lesion mask are, relative to the root, with
    `{subject}` (and `{session}`) and glob wildcards, e.g. `derivatives/dlmuse/{subject}/anat/*_dseg.nii.gz`; None where
    there are none. Of several that match, the one with the scan's own entities is taken.
    suffix: the BIDS suffix of the images, which is their contrast: T1w, T2w, FLAIR or PDw.
    skip_bad: leave out, and name, scans with a bad name, row or mask; by default the first of them is an error.
    people: read the tables of ages, sexes and sites, strictly. False where nobody asks for them: they are then unknown.

    Images that are not plain ones of their contrast (`ce-`, `part-phase`, `echo-`: `core.contrasts`) are left out, and
    named.
    """

    def __init__(
        self,
        root: str | Path | None,
        *,
        labels: str | None = None,
        mask: str | None = None,
        lesions: str | None = None,
        suffix: str = "T1w",
        skip_bad: bool = False,
        people: bool = True,
    ) -> None:
        self.root, self.people = path_or_none(root), people
        self.labels, self.mask, self.lesions, self.suffix = labels, mask, lesions, known_contrast(suffix)
        self.skip_bad = skip_bad

    def scans(self) -> list[Scan]:
        """All scans, ordered by name. Raises DataError for none, a bad one, or a table that is of other subjects."""
        found = self.listing()
        if found.bad and not (self.skip_bad and found.scans):
            raise found.bad[0]
        if found.bad:
            log.warning("%d bad scans left out:%s", len(found.bad), "".join(f"\n  {error}" for error in found.bad))
        found.tell()
        return found.scans

    def listing(self) -> Listing:
        """The scans, and what keeps others from being one. Raises DataError for what concerns all of them."""
        root = checked_root(self.root, "BIDS")
        people = People.of(root) if self.people else People()
        images = self._images(root)
        odd = [error for path in images if (error := special(root, path, self.suffix))]
        named, bad = defaultdict(list), []
        for path in (path for path in images if path not in {error.path for error in odd}):
            try:
                scan = self._scan(root, path, people)
                named[scan.name].append(scan)
            except DataError as error:
                bad.append(error)
        bad += [self._twice(group) for group in named.values() if len(group) > 1]
        scans = [named[name][0] for name in sorted(named) if len(named[name]) == 1]
        if not bad:
            self._check_found(scans, root)
            people.check(scans)
        return Listing(scans, bad, odd + left_out(root, self.suffix, images) + people.strangers())

    def rows_without_folder(self) -> list[DataError]:
        """Rows of participants.tsv whose subject is not there; none of a table that cannot be read."""
        try:
            return People.of(checked_root(self.root, "BIDS")).strangers()
        except DataError:
            return []

    def _twice(self, group: list[Scan]) -> DataError:
        first, second = (scan.path for scan in group[:2])
        return DataError(
            f"the {self.suffix} image of {group[0].name} is there twice: {first.name} and {second.name}",
            cure="keep one of the two below data.root=",
            path=second,
            subject=group[0].subject,
        )

    def _images(self, root: Path) -> list[Path]:
        folders = filter(Path.is_dir, [*root.glob("sub-*/anat"), *root.glob("sub-*/ses-*/anat")])
        ends = (f"_{self.suffix}.nii", f"_{self.suffix}.nii.gz")
        return visible(path for folder in folders for path in folder.iterdir() if path.name.endswith(ends))

    def _scan(self, root: Path, path: Path, people: People) -> Scan:
        match = NAME.fullmatch(path.name.split(f"_{self.suffix}.nii")[0])
        parts = path.relative_to(root).parts
        if match is None or (match["subject"], match["session"]) != (parts[0], parts[1] if len(parts) == 4 else None):
            cure = f"name it sub-X[_ses-Y]_{self.suffix}.nii.gz below sub-X[/ses-Y]/anat of data.root="
            raise DataError("not a BIDS file name", cure=cure, path=path)
        subject, session = match["subject"], match["session"]
        named = Named(subject, session, match["variant"])
        who = people.at(subject, session)
        return Scan(
            path=path,
            subject=subject,
            session=session,
            variant=named.variant,
            site=who.site,
            scanner=who.scanner,
            age=who.age,
            sex=who.sex,
            mask=companion(root, self.mask, named, "mask", needed=True),
            labels=companion(root, self.labels, named, "labels", needed=False),
            lesions=companion(root, self.lesions, named, "lesions", needed=False),
            contrast=self.suffix,
        )

    def _check_found(self, scans: list[Scan], root: Path) -> None:
        if not scans:
            if dicom := dicom_below(root):
                raise DataError("DICOM files, no BIDS folder", cure=DCM2NIIX, path=dicom)
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
        wanted = _labels(prefix, labels)
        there = {of(scan) for scan in scans}
        missing = [label for label in wanted if label not in there]
        if missing:
            known = ", ".join(sorted(label for label in there if label)) or "none"
            raise ConfigError(f"{key}: no scan of {', '.join(missing)}; there are {known}")
        scans = [scan for scan in scans if of(scan) in wanted]
    return scans


def _labels(prefix: str, labels: Iterable[str]) -> list[str]:
    return [prefix + str(label).removeprefix(prefix) for label in labels]
