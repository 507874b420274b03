"""One file as a scan: what its name says."""

from __future__ import annotations

import re
from pathlib import Path

from harmony.core import Scan
from harmony.core.contrasts import T1W, contrast_of

ENTITY = re.compile(r"[a-z]+-[A-Za-z0-9+]+")


def single_scan(path: Path, mask: Path | None, *, otherwise: str = T1W) -> Scan:
    """One file as a scan: subject, session and contrast from a BIDS name, else a subject made of the file's name, and
    the contrast `otherwise`."""
    stem, contrast = bare(path), contrast_of(path) or otherwise
    found = re.match(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?", stem)
    subject = found[1] if found else "sub-" + (re.sub(r"[^A-Za-z0-9]", "", stem) or "scan")
    words = stem.removeprefix(found[0]).split("_") if found else []
    variant = "_".join(word for word in words if ENTITY.fullmatch(word)) or None
    return Scan(path, subject, found[2] if found else None, mask=mask, contrast=contrast, variant=variant)


def bare(path: Path) -> str:
    """The name without the endings of NIfTI."""
    return path.name.removesuffix(".gz").removesuffix(".nii")
