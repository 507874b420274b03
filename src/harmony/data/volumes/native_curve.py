"""A curve of the intensity that was found on the model's grid, on the voxels of a finer file.

On the coarser grid the brain's outermost voxels are part background, and darker by that before the curve is found: it
is bent where the darkest tissue is. So the file under the curve is brought to the model's grid once, and what its
histogram there still lacks to the method's image is a second curve.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from torch import Tensor

from harmony.core import Volume
from harmony.core.intensity_curve import IntensityCurve
from harmony.data.volumes.grid import low_passed, places

POINTS = 2049  # of the second curve


def on_native(
    curve: IntensityCurve, data: np.ndarray, affine: np.ndarray, volume: Volume, wanted: Tensor
) -> np.ndarray:
    """data: (X, Y, Z) in units of the volume's robust maximum, 0 outside the brain, on the grid of `affine`. wanted:
    the method's image, (S, H, W). Returns the data under both curves."""
    brain = data != 0
    bent = np.zeros(data.shape)
    bent[brain] = curve(data[brain])
    coarse = _at_volume(bent, affine, volume).clip(0, float(curve(np.ones(1))[0]))
    bent[brain] = quantile_map(coarse, wanted[volume.mask].double().numpy())(bent[brain])
    return bent


def quantile_map(found: np.ndarray, wanted: np.ndarray) -> IntensityCurve:
    """The curve that takes the quantiles of `found` to those of as many `wanted`, both (N,), N >= 1."""
    at = np.linspace(0, len(found) - 1, POINTS).astype(int)
    levels, group = np.unique(np.sort(found)[at], return_inverse=True)
    return IntensityCurve(levels, np.bincount(group, np.sort(wanted)[at]) / np.bincount(group))


def _at_volume(data: np.ndarray, affine: np.ndarray, volume: Volume) -> np.ndarray:
    """(N,) what preprocessing makes of the data at the brain's voxels of the volume's grid."""
    spacing = float(np.linalg.norm(volume.affine[:3, 0]))
    smooth = low_passed(data.astype(np.float32), spacing / np.linalg.norm(affine[:3, :3], axis=0))
    at = places(affine, volume.mask.nonzero().numpy(), volume.affine)
    return ndimage.map_coordinates(smooth, at, order=1, mode="nearest")
