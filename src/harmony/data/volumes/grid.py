"""Voxel grids: orientation, spacing, and the values of an image at the voxels of another grid.

By nibabel and SciPy. MONAI's Orientation, Spacing and SpatialResample give the same within rounding (a test says so),
and importing them takes longer than importing torch.
"""

from __future__ import annotations

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from scipy import ndimage

from harmony.core.measures import FWHM_PER_SIGMA

SHRINK = 1.2  # below it the aliasing of a linear resampling is smaller than what a low-pass would cost
SAME = 1e-3  # relative: spacings that differ by less are one


class ModelGrid:
    """From a file's grid of `shape` and `affine` (4 x 4, voxel -> mm) to RAS axes and cubic voxels of `spacing` mm.

    The voxels of a file that has this spacing already are only turned. Else the file's first and last voxel centres
    are those of the new grid, whose axes are orthogonal: a shear in the affine is resampled away.

    shape, affine: of the new grid. ratio: (3,) new over native spacing along its axes.
    """

    def __init__(self, shape: tuple[int, ...], affine: np.ndarray, spacing: float) -> None:
        self._turn = io_orientation(affine)
        self._affine = affine @ inv_ornt_aff(self._turn, shape)
        native = np.linalg.norm(self._affine[:3, :3], axis=0)
        self.shape = tuple(int(shape[axis]) for axis in self._turn[:, 0].argsort())
        self.affine, self.ratio = self._affine, spacing / native
        self.kept = bool(np.allclose(native, spacing, rtol=SAME))
        if not self.kept:
            self.shape, self.affine = _cubic(self.shape, self._affine, spacing)

    def linear(self, data: np.ndarray) -> np.ndarray:
        """An image (X, Y, Z), low-passed along each axis that gets coarser."""
        data = low_passed(self._turned(data), self.ratio)
        if self.kept:
            return data
        into = np.linalg.solve(self._affine, self.affine)
        return ndimage.affine_transform(data, into, output_shape=self.shape, order=1, mode="nearest")

    def nearest(self, data: np.ndarray) -> np.ndarray:
        """A mask or labels. Halfway between two voxels it takes the even one: rounding up would move the brain."""
        data = self._turned(data)
        if self.kept:
            return data
        at = places(self._affine, np.indices(self.shape).reshape(3, -1).T, self.affine).round(4)  # headers hold float32
        x, y, z = (np.rint(own).astype(int).clip(0, size - 1) for own, size in zip(at, data.shape, strict=True))
        return data[x, y, z].reshape(self.shape)

    def _turned(self, data: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(apply_orientation(data, self._turn))


def low_passed(data: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Gaussian smoothing before a coarser grid: along each axis a native voxel becomes as wide as the new one.

    FWHM = sqrt(new^2 - native^2), only where ratio = new / native > 1.2.
    """
    sigma = low_pass_sigma(ratio)
    return ndimage.gaussian_filter(data, sigma, truncate=3) if sigma.any() else data


def low_pass_sigma(ratio: np.ndarray) -> np.ndarray:
    """Of `low_passed`, native voxels."""
    return np.where(ratio > SHRINK, np.sqrt(np.maximum(ratio**2 - 1, 0)) / FWHM_PER_SIGMA, 0)


def places(affine: np.ndarray, voxels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(3, N) where `voxels`, (N, 3) of the grid of `other`, lie on the grid of `affine`: for `map_coordinates`."""
    into = np.linalg.solve(affine, other)
    return into[:3, :3] @ voxels.T + into[:3, 3:]


def _cubic(shape: tuple[int, ...], affine: np.ndarray, spacing: float) -> tuple[tuple[int, ...], np.ndarray]:
    """The grid of orthogonal axes, as the affine's but for its shear, that spans the centres of all its voxels."""
    axes, upper = np.linalg.qr(affine[:3, :3])
    axes = spacing * axes * np.sign(np.diag(upper))
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(shape) - 1)
    place = np.linalg.solve(axes, affine[:3, :3] @ corners.T)
    low, high = place.min(1), place.max(1)
    grid = np.eye(4)
    grid[:3, :3], grid[:3, 3] = axes, affine[:3, 3] + axes @ low
    length = (np.round(high - low) + 1).astype(int)
    return (int(length[0]), int(length[1]), int(length[2])), grid
