"""What of an image is brain where no mask says so, and what its intensities are counted from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SPECK = 1e-3  # of what is taken for brain: a part apart that is smaller is noise of the brain extraction
BELOW = 0.02  # of what is not background may lie below it: interpolation does that
FAINT = 0.015  # of the robust maximum: an edge of this height is ripples that die away
RIPPLE = 0.08  # of the robust maximum: the ripples of a cubic spline around a brain stay below
OFFSET = 0.04  # of the robust range: what is nearer to 0 and above is 0
AIR = 0.1  # of the voxels of a head are air, and dark
DARKEST, DARK, BRIGHTEST = 0.05, 0.5, 99.5  # percentiles: the outermost voxels are overshoots


@dataclass(frozen=True)
class Foreground:
    """inside: (X, Y, Z) bool. dropped: voxels of small parts apart. ripples: whether small values of both signs around
    it were left out."""

    inside: np.ndarray
    dropped: int = 0
    ripples: bool = False


def background_level(data: np.ndarray) -> float | None:
    """The one value around a stripped brain: that of at least half of the voxels on the border of the grid; 0 where
    those are ripples that have died away; None where there is no such value (a head, or noise)."""
    border = _border(data)
    values, counts = np.unique(border, return_counts=True)
    if 2 * counts.max() >= len(border):
        return float(values[counts.argmax()])
    return 0.0 if np.median(np.abs(border)) <= FAINT * _top(np.abs(data)) else None


def foreground(data: np.ndarray, background: float | None) -> Foreground:
    """All parts (faces touch) of what is not background, holes filled; without specks.

    What is not background: above 0, or above the background where that is below 0. Where much lies below it, too, the
    brain has both signs (a z-score: whatever is not the background), or there are ripples around it (of a cubic spline:
    what is above them). Nothing where much is below 0 and there is no background: nobody can tell.
    """
    level = data - min(background or 0.0, 0.0)
    above, below = np.count_nonzero(level > 0), np.count_nonzero(level < 0)
    if below <= BELOW * above:
        return _parts(level > 0)
    if background is None:
        return Foreground(np.zeros(data.shape, bool))
    top = _top(level)
    if above and _edge(level) <= FAINT * top:
        found = _parts(level > RIPPLE * top)
        return Foreground(found.inside, int(np.count_nonzero((level > 0) & ~found.inside)), ripples=True)
    return _parts(_mended(level != 0) if above > BELOW * below else level > 0)


def zero_level(data: np.ndarray, mask: np.ndarray, background: float | None) -> float:
    """The intensity of no signal: the background, unless the brain has voxels far below it (ripples around the brain do
    not count). Then it is that of the darkest voxels; so it is where there is no background, and they are far
    below 0, or far above and many: air.

    An image a y + b (a > 0) has the zero a zero(y) + b: what is counted from zero and divided by a robust maximum is
    the same for both. 0 for an empty mask.
    """
    inside = data[mask]
    if not inside.size:
        return 0.0
    top = float(np.percentile(inside, BRIGHTEST))
    if background is not None:
        if np.percentile(inside, DARK) >= background - OFFSET * (top - background):
            return 0.0 if 0 < background <= OFFSET * (top - background) else background
        ripples = _edge(data - background) <= FAINT * _top(inside)
        return background if ripples else min(float(np.percentile(inside, DARKEST)), 0.0)
    low = float(np.percentile(data, DARKEST))
    near = OFFSET * (top - low)
    return low if low < -near or (low > near and np.mean(data <= low + near) > AIR) else 0.0


def _parts(above: np.ndarray) -> Foreground:
    parts, count = ndimage.label(above)
    if count == 0:
        return Foreground(np.zeros(above.shape, bool))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    large = sizes >= SPECK * sizes.sum()
    # A hole is background that does not reach the border; a padded border makes everything outside one part.
    outside, _ = ndimage.label(np.pad(~large[parts], 1, constant_values=True))
    inside = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return Foreground(inside, int(np.count_nonzero(above & ~inside)))


def _mended(brain: np.ndarray) -> np.ndarray:
    """With the voxels that are amid brain on four of their six sides: by chance they have the background's value."""
    sides = ndimage.generate_binary_structure(3, 1).astype(np.uint8)
    return brain | (ndimage.convolve(brain.astype(np.uint8), sides, mode="constant") >= 4)


def _border(data: np.ndarray) -> np.ndarray:
    """The voxels of the six faces of the grid."""
    faces = [np.moveaxis(data, axis, 0)[at].ravel() for axis in range(data.ndim) for at in (0, -1)]
    return np.concatenate(faces)


def _edge(level: np.ndarray) -> float:
    """How far from 0 the outermost voxels that are not 0 are, typically."""
    other = level != 0
    outermost = other & ~ndimage.binary_erosion(other)
    return float(np.median(np.abs(level[outermost]))) if outermost.any() else 0.0


def _top(level: np.ndarray) -> float:
    """The robust maximum of what is clearly above 0; 0 where nothing is."""
    above = level[level > 0]
    if not above.size:
        return 0.0
    return float(np.percentile(above[above > RIPPLE * np.percentile(above, BRIGHTEST)], BRIGHTEST))
