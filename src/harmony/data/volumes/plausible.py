"""Whether a scan can be the head of a person at all: wide bounds, that a wrong unit, mask or file does not pass.

They hold from preterm infants to the largest adults; `data.only_plausible=false` (`only_plausible=false` of
`harmonize`) takes what lies outside of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harmony.data.volumes.nifti import Nifti

# Preterm infants have 379 ml (SD 72) at term (Romberg et al. 2022, doi 10.1136/archdischild-2021-322846) and grow by
# 22 ml a week (Hueppi et al. 1998, doi 10.1002/ana.410430213): 150 ml near the 30th week. The largest skulls hold about
# 1900 ml, and a head with its skull on is more than 3000 ml.
BRAIN_ML = (150.0, 2200.0)
# Along each axis: half the width of a brain of 150 ml, which is 60 mm and more; the longest adult brains have 200 mm.
EXTENT_MM = (30.0, 250.0)
# The finest scan of a living brain has 0.25 mm (Luesebrink et al. 2017, Scientific Data 4, 170032); the thickest slices
# of clinical use have 6 to 8 mm with their gap.
VOXEL_MM = (0.2, 10.0)
# Of the whole image: MR scanners see about 500 mm at once. Beyond, the voxel size is wrong, and the memory needed too.
FIELD_MM = 1000.0
# (99th - 1st percentile) / median inside the brain. Fluid, grey and white matter differ by more than half the median in
# T1w and T2w scans, of infants too; a mask or a label in place of a scan has none, or a handful of values.
CONTRAST = 0.05
VALUES = 16  # different intensities inside the brain; scans of 8 bits have 50 and more


def implausible(native: Nifti, mask: np.ndarray) -> str | None:
    """What no scan of a person's brain has, in words; None where there is nothing. mask: (X, Y, Z) bool, not empty."""
    found = [*_grid(native), *_brain(native, mask), *_contrast(native.data[mask])]
    return "; ".join(found) if found else None


def skull_stripped(native: Nifti, mask: np.ndarray) -> bool:
    """Whether the image is 0 outside the brain: at most as many voxels as 1 % of the brain are not."""
    return bool(np.count_nonzero(native.data[~mask]) <= 0.01 * np.count_nonzero(mask))


def _grid(native: Nifti) -> Iterator[str]:
    sides = np.linalg.norm(native.affine[:3, :3], axis=0)
    if sides.min() < VOXEL_MM[0] or sides.max() > VOXEL_MM[1]:
        yield f"voxels of {_by(sides)} mm ({VOXEL_MM[0]:g} to {VOXEL_MM[1]:g})"
    field = sides * native.data.shape
    if field.max() > FIELD_MM:
        yield f"a field of view of {_by(field)} mm (up to {FIELD_MM:g})"


def _brain(native: Nifti, mask: np.ndarray) -> Iterator[str]:
    volume = float(mask.sum() * abs(np.linalg.det(native.affine[:3, :3])) / 1000)
    if volume < BRAIN_ML[0]:
        yield f"a brain of {volume:.3g} ml ({BRAIN_ML[0]:g} to {BRAIN_ML[1]:g})"
    if volume > BRAIN_ML[1]:
        yield f"{volume:.0f} ml inside, more than a brain: the skull is probably still on"
    extent = _extent(mask) * np.linalg.norm(native.affine[:3, :3], axis=0)
    if mask.any() and (extent.min() < EXTENT_MM[0] or extent.max() > EXTENT_MM[1]):
        yield f"a brain of {_by(extent)} mm ({EXTENT_MM[0]:g} to {EXTENT_MM[1]:g})"


def _contrast(inside: np.ndarray) -> Iterator[str]:
    if not inside.size:
        return
    low, middle, high = np.percentile(inside, (1, 50, 99))
    if len(np.unique(inside)) < VALUES or high - low < CONTRAST * abs(middle):
        yield f"no contrast inside the brain ({low:.3g} to {high:.3g}, {len(np.unique(inside))} values): not a scan"


def _extent(mask: np.ndarray) -> np.ndarray:
    """(3,) voxels from the first to the last of the brain, along each axis."""
    lines = (np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    return np.array([line[-1] - line[0] + 1 if len(line) else 0 for line in lines])


def _by(sides: np.ndarray) -> str:
    return " x ".join(f"{side:.3g}" for side in sides)
