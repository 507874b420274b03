"""The steps of preprocessing that MONAI does not have, as MONAI transforms on (1, X, Y, Z) MetaTensors."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from scipy import ndimage
from torch import Tensor

from harmony.core.measures import FWHM_PER_SIGMA, robust_maximum

SHRINK = 1.2  # below it the aliasing of a linear resampling is smaller than what a low-pass would cost


class LowPass(Transform):
    """Gaussian smoothing before a coarser grid: along each axis a native voxel becomes as wide as the new one.

    FWHM = sqrt(new^2 - native^2), only where new / native > 1.2. spacing: the new voxel size in mm.
    """

    def __init__(self, spacing: float) -> None:
        self.spacing = spacing

    def sigma(self, ratio: np.ndarray) -> np.ndarray:
        """Native voxels, by the ratio of new to native spacing."""
        return np.where(ratio > SHRINK, np.sqrt(np.maximum(ratio**2 - 1, 0)) / FWHM_PER_SIGMA, 0)

    def __call__(self, image: MetaTensor) -> MetaTensor:
        sigma = self.sigma(self.spacing / voxel_size(image))
        if not sigma.any():
            return image
        smooth = ndimage.gaussian_filter(image[0].numpy(), sigma, truncate=3)
        return MetaTensor(torch.from_numpy(smooth)[None], affine=image.affine)


class RobustScale(Transform):
    """Divide by the percentile of the intensities inside the mask, clip to [0, 1], zero outside."""

    def __init__(self, percentile: float) -> None:
        self.percentile = percentile

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, float]:
        """The scaled image and the intensity that became 1 (0 when the brain is empty or black)."""
        scale = robust_maximum(image, mask, self.percentile)
        if scale <= 0:
            return torch.zeros_like(image), 0.0
        return torch.where(mask, image / scale, 0).clamp(0, 1), scale


def voxel_size(image: MetaTensor) -> np.ndarray:
    """(3,) mm."""
    return np.linalg.norm(np.asarray(image.affine, np.float64)[:3, :3], axis=0)
