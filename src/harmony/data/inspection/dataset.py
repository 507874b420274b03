"""What a data set holds and all that is wrong with it, found before any work: one volume in memory at a time."""

from __future__ import annotations

import copy
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np

from harmony.core import DataError, Scan, Source, interrupts
from harmony.core.progress import watched
from harmony.data.inspection.confounding import confounded
from harmony.data.module import SliceDataModule
from harmony.data.sources.bids import BidsFolder
from harmony.data.sources.folders import visible
from harmony.data.sources.single import single_scan
from harmony.data.volumes.brain import brain_of
from harmony.data.volumes.nifti import Nifti, read_labels, read_nifti
from harmony.data.volumes.plausible import implausible
from harmony.data.volumes.preprocess import Preprocess

OLDEST = 120
FEWEST = 2  # sites of a study
Intent = Literal["harmonize", "train", "study"]


@dataclass(frozen=True)
class Problem:
    """One thing to mend. error: training would stop at it, or its results would be wrong; else a warning."""

    problem: str
    cure: str
    path: Path | None = None
    subject: str | None = None
    error: bool = True

    @classmethod
    def of(cls, error: DataError) -> Problem:
        return cls(error.problem, error.cure, None if error.path is None else Path(error.path), error.subject)

    def __str__(self) -> str:
        return str(DataError(self.problem, cure=self.cure, path=self.path, subject=self.subject))


@dataclass(frozen=True)
class Look:
    """What the header and the voxels of a readable scan say.

    voxel_mm: along the file's axes; orientation: of these axes, RAS for right, anterior, superior. dtype: on disk.
    low, high: intensities. brain_ml: voxels inside the brain (mask, or above 0); None where there is no telling.
    digest: of the voxels, so that a copy is found under another name, packing or header.
    """

    scan: Scan
    shape: tuple[int, ...]
    voxel_mm: tuple[float, ...]
    orientation: str
    dtype: str
    low: float
    high: float
    brain_ml: float | None
    digest: str


@dataclass(frozen=True)
class Inspection:
    """scans: all that the source lists; looks: those that can be read; parts: part of the data -> its scans; left_out:
    images, subjects and rows that are none of the scans."""

    scans: list[Scan]
    looks: list[Look]
    parts: Mapping[str, list[Scan]]
    problems: list[Problem]
    left_out: list[Problem]

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.error]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self.problems if not problem.error]


def inspect(data: SliceDataModule, intent: Intent | None = "train") -> Inspection:
    """Look at every scan of the source as what is intended would. Nothing is written; no problem stops it.

    harmonize: names, images, masks. train: ages, labels and the split, too. study: ages and sites, but no split. None:
    what harmonizing would stop at; of what the others need, warnings.
    A source that cannot list its scans is one problem; the files that lie in its folder are then read all the same.
    """
    parts: Mapping[str, list[Scan]] = {}
    preprocess = data.preprocess if intent in ("train", "study") else _as_applied(data.preprocess)
    try:
        scans, problems, left_out = _listing(data.source, intent)
        problems += _same_name(scans)
        if intent != "harmonize":
            problems += [*_ages(scans), *_sites(scans)]
        if intent == "study":
            problems += _comparable(scans)
        if intent in ("train", None) and not any(problem.error for problem in problems):
            parts, found = _parts(data, scans)
            problems += found if intent else [replace(each, error=each.subject is not None) for each in found]
    except DataError as error:
        scans, left_out, problems = [], [], [Problem.of(error)]
    looks = []
    # A file that has a bad name, or is there twice, is read all the same: nobody knows its mask.
    named = {scan.path for scan in scans} | {problem.path for problem in left_out}
    others = [scan for scan in _files(data.source) if scan.path not in named] if problems else []
    for scan in watched([*scans, *others], "checking scans"):
        look, found = look_at(scan, preprocess if scan.path in named else None)
        looks += [look] if look else []
        problems += found
        interrupts.check()
    return Inspection([*scans, *others], looks, parts, problems + list(_same_image(looks, parts)), left_out)


def _as_applied(preprocess: Preprocess) -> Preprocess:
    """As a model that is at hand would take the scans: whatever their size."""
    grown = copy.copy(preprocess)
    grown.grows = True
    return grown


def _listing(source: Source, intent: Intent | None) -> tuple[list[Scan], list[Problem], list[Problem]]:
    """The scans, what is wrong with others, and what is left out. Labels and tables do not matter for harmonizing."""
    if not isinstance(source, BidsFolder):
        return source.scans(), [], []
    problems: list[Problem] = []
    plain = BidsFolder(source.root, mask=source.mask, suffix=source.suffix, people=False)
    try:
        found = (plain if intent == "harmonize" else source).listing()
    except DataError as error:
        if intent is not None:
            raise
        found, problems = plain.listing(), [replace(Problem.of(error), error=False)]
    rows = source.rows_without_folder() if intent == "harmonize" else []
    problems += [Problem.of(error) for error in found.bad]
    return found.scans, problems, [replace(Problem.of(error), error=False) for error in [*found.left_out, *rows]]


def look_at(scan: Scan, preprocess: Preprocess | None) -> tuple[Look | None, list[Problem]]:
    """One scan: no look where the image cannot be read. A bad mask does not hide bad labels, nor the other way round.

    preprocess: None to leave out what needs to know where the brain is.
    """
    problems: list[Problem] = []
    try:
        native = read_nifti(scan.path, subject=scan.subject)
    except DataError as error:
        return None, [Problem.of(error)]
    if not native.oriented:
        problem, cure = "the header states no orientation", "write the sform: left and right are only guessed"
        problems.append(Problem(problem, cure, scan.path, scan.subject, error=False))
    checked = scan
    if scan.labels is not None:
        try:
            read_labels(scan.labels, native, scan.subject)
        except DataError as error:
            problems.append(Problem.of(error))
            checked = replace(scan, labels=None)
    brain_ml, found = _brain(checked, native, preprocess) if preprocess else (None, [])
    return _look(scan, native, brain_ml), problems + found


def _brain(scan: Scan, native: Nifti, preprocess: Preprocess) -> tuple[float | None, list[Problem]]:
    """Millilitres inside the brain, and what keeps it from the model's grid."""
    try:
        found = brain_of(scan, native)
    except DataError as error:
        return None, [Problem.of(error)]
    brain = found.mask
    brain_ml = float(brain.sum() * abs(np.linalg.det(native.affine[:3, :3])) / 1000)
    odd = None if preprocess.only_plausible or not brain.any() else implausible(native, brain)
    remarks = [*found.remarks, *([odd] if odd else [])]
    warnings = [Problem(text, "check file and mask", scan.path, scan.subject, error=False) for text in remarks]
    return brain_ml, warnings + _prepared(scan, preprocess)


def _prepared(scan: Scan, preprocess: Preprocess) -> list[Problem]:
    """What training would stop at; without the labels once more if it is them."""
    try:
        preprocess(scan)
    except DataError as error:
        again = scan.labels is not None and error.path == scan.labels
        return [Problem.of(error)] + (_prepared(replace(scan, labels=None), preprocess) if again else [])
    return []


def _look(scan: Scan, native: Nifti, brain_ml: float | None) -> Look:
    content = hashlib.sha256(str(native.data.shape).encode())
    content.update(np.ascontiguousarray(native.data).data)
    sides = np.linalg.norm(native.affine[:3, :3], axis=0)
    return Look(
        scan=scan,
        shape=native.data.shape,
        voxel_mm=tuple(round(float(side), 2) for side in sides),
        orientation="".join(code or "?" for code in nibabel.aff2axcodes(native.affine)),
        dtype=native.header.get_data_dtype().name,
        low=float(native.data.min()),
        high=float(native.data.max()),
        brain_ml=brain_ml,
        digest=content.hexdigest(),
    )


def _files(source: Source) -> list[Scan]:
    """The T1w files below the source's folder, subject and session from their names."""
    root = getattr(source, "root", None)
    if root is None or not Path(root).is_dir():
        return []
    paths = [path for path in Path(root).rglob("*T1*.nii*") if "derivatives" not in path.relative_to(root).parts]
    return [single_scan(path, None) for path in visible(paths)]


def _sites(scans: list[Scan]) -> Iterator[Problem]:
    for text in confounded(scans):
        yield Problem(text, "match the subjects, or say so where sites are compared", error=False)


def _comparable(scans: list[Scan]) -> Iterator[Problem]:
    """What a comparison of scanners needs: at least two sites (scanners, where no site is known), known of all."""
    places = [scan.site or scan.scanner for scan in scans]
    known = sorted({place for place in places if place})
    if len(known) < FEWEST:
        problem = f"{len(known)} sites are known ({', '.join(known) or 'none'}): a study compares {FEWEST} or more"
        yield Problem(problem, "give participants.tsv a column site (or scanner)")
    for scan, place in zip(scans, places, strict=True):
        if known and place is None:
            yield Problem("no site", "add it to the table of subjects", scan.path, scan.subject)


def _same_name(scans: list[Scan]) -> Iterator[Problem]:
    first: dict[str, Scan] = {}
    for scan in scans:
        if first.setdefault(scan.name, scan) is not scan:
            problem = f"more than one scan of {scan.name}: also {first[scan.name].path}"
            yield Problem(problem, "keep one per subject and session", scan.path, scan.subject)


def _ages(scans: list[Scan]) -> Iterator[Problem]:
    missing = [scan for scan in scans if scan.age is None]
    cure = "add it to the table of subjects; without it, no brain age"
    if missing and len(missing) == len(scans):
        yield Problem("no scan has an age", cure, error=False)
        missing = []
    for scan in missing:
        yield Problem("no age", cure, scan.path, scan.subject, error=False)
    for scan in scans:
        if scan.age is not None and not 0 <= scan.age <= OLDEST:
            problem = f"an age of {scan.age:g}"
            yield Problem(problem, "correct the table of subjects", scan.path, scan.subject, error=False)


def _parts(data: SliceDataModule, scans: list[Scan]) -> tuple[Mapping[str, list[Scan]], list[Problem]]:
    """The parts, or why there are none; every subject that leaks, where the data set brings its own split."""
    named: dict[str, set[str]] = defaultdict(set)
    for scan in scans:
        named[scan.subject] |= {scan.split} if scan.split else set()
    leaks = [
        Problem(
            f"split leak: one subject in {' and in '.join(sorted(parts))}",
            "put all scans of a subject into one part",
            next(scan.path for scan in scans if scan.subject == subject),
            subject,
        )
        for subject, parts in named.items()
        if len(parts) > 1
    ]
    if leaks:
        return {}, leaks
    try:
        return data.split(), []
    except DataError as error:
        return {}, [Problem.of(error)]


def _same_image(looks: Iterable[Look], parts: Mapping[str, list[Scan]]) -> Iterator[Problem]:
    """Copies: of another subject an error (it may be trained on and tested), of the same subject a warning."""
    part_of = {scan.subject: part for part, chosen in parts.items() for scan in chosen}
    first: dict[str, Scan] = {}
    for look in looks:
        scan, twin = look.scan, first.setdefault(look.digest, look.scan)
        if twin is scan:
            continue
        problem = f"the same image as {twin.name} ({twin.path})"
        ends = part_of.get(twin.subject), part_of.get(scan.subject)
        if ends[0] != ends[1]:
            problem += f", a leak between {ends[0]} and {ends[1]}"
        yield Problem(problem, "keep one of the two", scan.path, scan.subject, error=twin.subject != scan.subject)
