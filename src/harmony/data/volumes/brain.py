"""Where in a file the brain is, what its intensities are counted from, and what is to be said about both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from harmony.core import DataError, Scan
from harmony.data.volumes.foreground import RIPPLE, Foreground, background_level, foreground, zero_level
from harmony.data.volumes.nifti import Nifti, read_labels

STRIPPED = 0.95  # a head with its background above 0 fills the whole field of view
NAMED_ML = 0.1  # what is dropped below this needs no word


@dataclass(frozen=True)
class Brain:
    """mask: (X, Y, Z) bool. zero: the intensity of no signal. background: the one value outside, None for several.
    remarks: what a reader of the result should know, in words."""

    mask: np.ndarray
    zero: float
    background: float | None
    remarks: tuple[str, ...] = ()


def brain_of(scan: Scan, native: Nifti) -> Brain:
    """The given mask; else all parts of the image that are not background (see `foreground`).

    Raises DataError for an image in which nobody can tell what is brain, and for NaN inside it.
    """
    background = background_level(native.data)
    if scan.mask is not None:
        found = Foreground(read_labels(scan.mask, native, scan.subject) > 0)
    else:
        found = _found(scan, native, background)
    if native.missing is not None and (count := np.count_nonzero(found.inside & native.missing)):
        raise _bad(scan, f"{count} voxels inside the brain are NaN", "make the image again, or mend the brain mask")
    zero = zero_level(native.data, found.inside, background)
    return Brain(found.inside, zero, background, tuple(_remarks(native, found, zero)))


def brain_mask(scan: Scan, native: Nifti) -> np.ndarray:
    """(X, Y, Z) bool on the file's grid, as `brain_of` has it."""
    return brain_of(scan, native).mask


def _found(scan: Scan, native: Nifti, background: float | None) -> Foreground:
    data = native.data
    if native.missing is not None and background:
        data = np.where(native.missing, np.float32(background), data)
    found = foreground(data, background)
    if found.inside.mean() > STRIPPED:
        problem = "the background is not 0: the image is not skull-stripped"
        raise _bad(scan, problem, "strip the skull, or give a brain mask (harmonize: mask=auto)")
    if background is None and data.min() < 0 and not found.inside.any():
        problem = "voxels below 0 and no background of one value: nobody can tell what is brain"
        raise _bad(scan, problem, "give a brain mask (harmonize: mask=auto)")
    return found


def _remarks(native: Nifti, found: Foreground, zero: float) -> Iterator[str]:
    dropped = found.dropped * abs(np.linalg.det(native.affine[:3, :3])) / 1000
    if dropped >= NAMED_ML:
        what = "ripples around the brain, as a spline leaves them" if found.ripples else "small parts apart"
        more = f" (below {RIPPLE:.0%} of the robust maximum)" if found.ripples else ""
        yield f"{dropped:.1f} ml above 0 not taken for brain: {what}{more}"
    if zero:
        yield f"intensities count from {zero:g}: that is 0 for harmonizing, and put back in the scan's own unit"
    if native.missing is not None:
        yield f"{np.count_nonzero(native.missing)} voxels outside the brain are NaN in the file, and 0 in the result"


def _bad(scan: Scan, problem: str, cure: str) -> DataError:
    return DataError(problem, cure=cure, path=scan.path, subject=scan.subject)
