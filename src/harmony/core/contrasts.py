"""What an image weights, by the suffix of BIDS: a model knows one contrast."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harmony.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from harmony.core.manifest import Scan

T1W = "T1w"
CONTRASTS = (T1W, "T2w", "FLAIR", "PDw")
# Entities of BIDS that make another image of a contrast than a plain one, and the values that do not.
SPECIAL = {
    "ce": ("with a contrast agent", ()),
    "part": ("a part of the complex image", ("mag",)),
    "echo": ("one of several echoes", ()),
    "inv": ("one of several inversion times", ()),
    "flip": ("one of several flip angles", ()),
    "mt": ("with a magnetization transfer pulse", ("off",)),
    "chunk": ("a part of the head", ()),
    "stain": ("a stain", ()),
    "sample": ("a sample", ()),
    "mod": ("a mask of another image", ()),
    "space": ("resampled into another space", ("orig", "T1w", "individual", "native", "scanner")),
}
_SUFFIX = re.compile(rf"_({'|'.join(CONTRASTS)})\.(nii|nii\.gz|mgz)")


def contrast_of(path: Path) -> str | None:
    """The contrast that a file's name says; None where it is no BIDS name."""
    found = _SUFFIX.search(path.name)
    return found[1] if found else None


def special_image(entities: str) -> str | None:
    """What the entities of a BIDS name (`ce-gadolinium_run-1`) say of an image that is no plain one of its contrast."""
    for word in entities.split("_"):
        key, _, value = word.partition("-")
        why, plain = SPECIAL.get(key, ("", (value,)))
        if value not in plain:
            return f"{word} ({why})"
    return None


def known_contrast(name: str) -> str:
    """Raises ConfigError for a contrast that there is none of."""
    if name not in CONTRASTS:
        raise ConfigError(f"contrast {name!r}: unknown; there are {', '.join(CONTRASTS)}")
    return name


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
