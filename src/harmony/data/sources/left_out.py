"""What lies in a BIDS folder and is no scan of it: images of other names, subjects and sessions without an image."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from harmony.core import DataError
from harmony.core.contrasts import special_image

IMAGE = r"\.(nii|hdr|img|mgz|mgh|mnc|nrrd|dcm)(\.gz|\.bz2|\.xz|\.zip)?"


def left_out(root: Path, suffix: str, images: Iterable[Path]) -> list[DataError]:
    """Each with what to do about it, in the order of names. images: those with a good name in a good place."""
    taken = set(images)
    found = [_image(root, path, suffix) for path in _images(root, suffix) if path not in taken]
    named = {path.relative_to(root).parts[0] for path in taken} | {error.subject for error in found}
    found += _empty(root, suffix, named, {path.parent.parent for path in taken})
    return sorted(found, key=lambda error: str(error.path))


def special(root: Path, path: Path, suffix: str) -> DataError | None:
    """What keeps an image with a good name from being a plain one of its contrast; None for a plain one."""
    words = path.name.split("_")[:-1]
    if (why := special_image("_".join(words))) is None:
        return None
    cure = f"if it is a plain {suffix} image, leave the entity out of its name"
    return DataError(f"{why}, not a plain {suffix} image", cure=cure, path=path, subject=_subject(root, path))


def _images(root: Path, suffix: str) -> Iterator[Path]:
    """Every file below a subject's folder whose name ends as an image of this contrast, in any spelling."""
    pattern = re.compile(rf".*_?{suffix}{IMAGE}", re.IGNORECASE)
    for top in sorted(root.iterdir()):
        if re.match(r"sub", top.name, re.IGNORECASE) and top.is_dir():
            for folder, _, names in os.walk(top):
                yield from (Path(folder, name) for name in names if name[0] != "." and pattern.fullmatch(name))


def _image(root: Path, path: Path, suffix: str) -> DataError:
    subject = _subject(root, path)
    good = path.name.endswith((f"_{suffix}.nii", f"_{suffix}.nii.gz"))
    if not good:
        problem, cure = f"not named ..._{suffix}.nii.gz", f"rename it (or convert it) to ..._{suffix}.nii.gz"
    elif not subject:
        problem, cure = "its folder is not named sub-LABEL", "rename the folder"
    else:
        problem, cure = "not in an anat folder", "move it into sub-X[/ses-Y]/anat"
    return DataError(problem, cure=cure, path=path, subject=subject)


def _empty(root: Path, suffix: str, named: set[str | None], used: set[Path]) -> Iterator[DataError]:
    for folder in sorted(root.glob("sub-*")):
        if folder.is_dir() and folder.name not in named:
            cure = f"add sub-*/[ses-*/]anat/*_{suffix}.nii.gz, or leave it so"
            yield DataError(f"no {suffix} image", cure=cure, path=folder, subject=folder.name)
        elif folder.is_dir():
            for visit in sorted(folder.glob("ses-*")):
                if visit.is_dir() and visit not in used:
                    cure = f"add anat/*_{suffix}.nii.gz, or leave it so"
                    yield DataError(f"no {suffix} image", cure=cure, path=visit, subject=folder.name)


def _subject(root: Path, path: Path) -> str | None:
    first = path.relative_to(root).parts[0]
    return first if first.startswith("sub-") else None
