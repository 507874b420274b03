"""What an image weights, by the suffix of BIDS: a model knows one contrast."""

from __future__ import annotations

import re
from pathlib import Path

from harmony.core.errors import ConfigError

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
