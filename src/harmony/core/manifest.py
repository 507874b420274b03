"""The one table every data set becomes: a scan a row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from harmony.core.contrasts import T1W, special_image
from harmony.core.errors import DataError

T = TypeVar("T")


@dataclass(frozen=True)
class Scan:
    """One scan. `subject` is unique to a person, `name` to a scan. Sex "F", "M" or None.

    age: years (neonates: weeks since the mother's last menstruation).
    mask, labels, lesions: files on the grid of `path`; None where there is none (the brain is then where the image is
        above 0).
    contrast: T1w, T2w, FLAIR or PDw.
    variant: what else of a BIDS name tells the scans of a session apart: `acq-mprage_run-2`.
    split: the part that the data set itself assigns the scan to ("train", "val", "test"); None where it says nothing.
    """

    path: Path
    subject: str
    session: str | None = None
    site: str | None = None
    scanner: str | None = None
    age: float | None = None
    sex: str | None = None
    mask: Path | None = None
    labels: Path | None = None
    split: str | None = None
    lesions: Path | None = None
    contrast: str = T1W
    variant: str | None = None

    @property
    def name(self) -> str:
        return "_".join(part for part in (self.subject, self.session, self.variant) if part)


class Source(Protocol):
    """A data set: anything that can list its scans."""

    def scans(self) -> list[Scan]: ...


def one_contrast(scans: Iterable[Scan]) -> str:
    """Of the scans that one model learns from. Raises DataError where there are several."""
    found = sorted({scan.contrast for scan in scans})
    if len(found) > 1:
        raise DataError(f"scans of several contrasts: {', '.join(found)}", cure="train a model for each")
    return found[0]


def refuse_other_contrast(scan: Scan, model: str) -> None:
    """Raises DataError for a scan of another contrast than the model's, or for one that is not plain."""
    if scan.contrast != model:
        raise DataError(
            f"a {scan.contrast} image, and the model knows {model}",
            cure=f"take a model of {scan.contrast} scans (harmony models)",
            path=scan.path,
            subject=scan.subject,
        )
    if why := special_image(scan.variant or ""):
        raise DataError(
            f"{why}: not a plain {model} image, and the model knows no other",
            cure="if it is a plain one, leave the entity out of its name",
            path=scan.path,
            subject=scan.subject,
        )


def split_by_subject(scans: Iterable[Scan], shares: Mapping[str, float], seed: int) -> dict[str, list[Scan]]:
    """Deal scans into named parts, every scan of a subject into the same one.

    shares: part -> share, in order; they must add up to 1. The last part takes what rounding leaves.
    Subjects are ordered by a hash of (seed, subject), so the deal does not depend on the order of the files.
    Where the scans come with a split of their own, that one is used. Raises DataError where it has gaps or leaks.
    """
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"split shares must add up to 1, got {dict(shares)}")
    scans = sorted(scans, key=lambda scan: scan.name)
    if any(scan.split is not None for scan in scans):
        return _given_parts(scans, shares)
    subjects = sorted(
        {scan.subject for scan in scans}, key=lambda s: hashlib.sha256(f"{seed}/{s}".encode()).hexdigest()
    )
    parts: dict[str, list[Scan]] = {}
    begin, reached = 0, 0.0
    for k, (part, share) in enumerate(shares.items()):
        reached += share
        end = len(subjects) if k == len(shares) - 1 else round(reached * len(subjects))
        chosen = set(subjects[begin:end])
        parts[part] = [scan for scan in scans if scan.subject in chosen]
        begin = end
    return parts


def of_subjects(scanned: Sequence[T], count: int | None, subject: Callable[[T], str]) -> list[T]:
    """What is of the first `count` people, with all their scans, in the order given; everything for None."""
    people = dict.fromkeys(map(subject, scanned))
    chosen = set(list(people)[:count])
    return [each for each in scanned if subject(each) in chosen]


def _given_parts(scans: list[Scan], shares: Mapping[str, float]) -> dict[str, list[Scan]]:
    """The parts that the scans themselves name."""
    part_of: dict[str, str] = {}
    for scan in scans:
        if scan.split is None or scan.split not in shares:
            problem = "no split" if scan.split is None else f"split {scan.split!r} is not a part of the data"
            cure = f"give every scan one of {', '.join(shares)}, or none at all"
            raise DataError(problem, cure=cure, path=scan.path, subject=scan.subject)
        if part_of.setdefault(scan.subject, scan.split) != scan.split:
            raise DataError(
                f"split leak: one subject in {part_of[scan.subject]!r} and in {scan.split!r}",
                cure="put all scans of a subject into one part",
                path=scan.path,
                subject=scan.subject,
            )
    empty = [part for part, share in shares.items() if share > 0 and part not in part_of.values()]
    if empty:
        cure = f"give it to some subjects, or data.shares= with 0 for {empty[0]}"
        raise DataError(f"no scan has the split {empty[0]!r}", cure=cure)
    return {part: [scan for scan in scans if scan.split == part] for part in shares}
