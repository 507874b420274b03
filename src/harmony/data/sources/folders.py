"""Finding the files of a data set."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harmony.core import DataError, Scan

NIFTI = (".nii.gz", ".nii")
OWN_SPACE = {"orig", "t1w", "individual", "native", "scanner"}
DERIVED = {"desc", "label", "space", "res", "den", "seg", "atlas"}  # entities of derivatives alone


def checked_root(root: Path | None, what: str) -> Path:
    """The data folder. Raises DataError, naming the setting, where there is none."""
    if root is None:
        cure = f"say where the {what} folder is: data.root=/path/to/{what.lower()}"
        raise DataError("no data folder was given", cure=cure)
    if not root.is_dir():
        cure = f"say where the {what} folder is: data.root=/path/to/{what.lower()}"
        raise DataError("no such folder", cure=cure, path=root)
    return root


def path_or_none(path: str | Path | None, root: Path | None = None) -> Path | None:
    """A setting as a path, `~` expanded, a relative one below `root`."""
    if path is None:
        return None
    path = Path(path).expanduser()
    return path if root is None else root / path


def image_in(folder: Path, stem: str, *, endings: tuple[str, ...] = NIFTI, subject: str) -> Path | None:
    """The image `stem` with one of the endings; None where there is none. Raises DataError where there are two."""
    found = [folder / f"{stem}{ending}" for ending in endings if (folder / f"{stem}{ending}").exists()]
    if len(found) > 1:
        problem = f"the image is there twice: {found[0].name} and {found[1].name}"
        raise DataError(problem, cure="keep one of the two", path=found[1], subject=subject)
    return found[0] if found else None


@dataclass(frozen=True)
class Named:
    """What a BIDS name says: `sub-X`, `ses-Y`, and the other entities as they stand there (`acq-a_run-2`)."""

    subject: str
    session: str | None = None
    variant: str | None = None

    @property
    def entities(self) -> set[str]:
        return {word for part in (self.subject, self.session, self.variant) if part for word in part.split("_")}


def companion(root: Path, pattern: str | None, scan: Named, what: str, *, needed: bool) -> Path | None:
    """The one file that belongs to a scan; None where there is none and it is not needed.

    pattern: relative to the root, with `{subject}`, `{session}` and glob wildcards; where several match, the one with
    the entities of the scan's own name is meant, and of those the one on the scan's own grid (no `space-`, or one that
    names it). what: "mask" or "labels".
    """
    if pattern is None:
        return None
    try:
        found = visible(root.glob(_filled(pattern, scan.subject, scan.session or "")))
    except (ValueError, NotImplementedError, IndexError) as error:
        cure = f"data.{what}= is relative to data.root=, with {{subject}}, {{session}} and wildcards"
        raise DataError(f"{pattern!r} is no pattern of files ({error})", cure=cure, path=root) from error
    if len(found) > 1:
        found = [path for path in found if _entities(path) == scan.entities] or found
        strange = [_strange(path) for path in found]
        found = [path for path, rank in zip(found, strange, strict=True) if rank == min(strange)]
    if len(found) > 1:
        cure = f"make data.{what}= more specific ({{subject}} and {{session}} are filled in)"
        raise DataError(f"{len(found)} files match {pattern!r}", cure=cure, path=found[0], subject=scan.subject)
    if not found and needed:
        cure = f"add the file, correct data.{what}=, or set data.{what}=null"
        raise DataError(f"no {what} matches {pattern!r}", cure=cure, path=root, subject=scan.subject)
    return found[0] if found else None


def one_each(scans: Iterable[Scan], cure: str) -> list[Scan]:
    """The scans ordered by name. Raises DataError where two have the same."""
    found: dict[str, Scan] = {}
    for scan in scans:
        if scan.name in found:
            problem = f"more than one scan of {scan.name}: {found[scan.name].path.name} and {scan.path.name}"
            raise DataError(problem, cure=cure, path=scan.path, subject=scan.subject)
        found[scan.name] = scan
    return [found[name] for name in sorted(found)]


def natural(path: Path) -> list[tuple[int, str]]:
    """A sorting key that puts anat2 before anat10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.as_posix()) if part]


def visible(paths: Iterable[Path]) -> list[Path]:
    """In order, without hidden files: macOS leaves a `._NAME` beside a NAME that it copied to a disk of others."""
    return sorted(path for path in paths if not path.name.startswith("."))


def _entities(path: Path) -> set[str]:
    """Of a derivative's name, those that its source has too."""
    words = {word for word in path.name.split("_")[:-1] if "-" in word}
    return {word for word in words if word.partition("-")[0] not in DERIVED}


def _strange(path: Path) -> int:
    """0: on the grid of the scan, as the name has it; 1: on a grid that is called so; 2: elsewhere."""
    space = re.search(r"_(space|res|den)-([A-Za-z0-9]+)", path.name)
    return 0 if space is None else 1 if space[1] == "space" and space[2].lower() in OWN_SPACE else 2


def _filled(pattern: str, subject: str, session: str) -> str:
    """An absent session may leave two stars side by side, which glob refuses unless they are a whole folder name.

    Raises ValueError for a placeholder that is not known.
    """
    for _, name, form, conversion in string.Formatter().parse(pattern):
        if name not in (None, "subject", "session") or form or conversion:
            raise ValueError(f"{{{name}}} is not a placeholder")
    parts = pattern.format(subject=subject, session=session).split("/")
    return "/".join(part if part == "**" else re.sub(r"\*+", "*", part) for part in parts if part)
