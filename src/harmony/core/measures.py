"""How bright and how sharp an image is: the two measures that every room means the same by."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

FWHM_PER_SIGMA = 2.3548
DARKEST = 1e-6  # of a robust maximum that something is divided by: a brain without intensities has no scale


def robust_maximum(image: Tensor, mask: Tensor, percentile: float) -> float:
    """The intensity below which `percentile` % of the voxels inside the mask lie, linear between two voxels; 0 for an
    empty mask."""
    inside = image[mask].float().cpu()  # torch's own quantile refuses more than 2^24 values
    return float(np.percentile(inside.numpy(), percentile)) if len(inside) else 0.0


def robust_scaled(image: Tensor, mask: Tensor, percentile: float) -> tuple[Tensor, float]:
    """The image over its robust maximum, clipped to [0, 1], zero outside the mask; and that maximum. Zeros and 0 where
    the brain is empty or black."""
    scale = robust_maximum(image, mask, percentile)
    if scale <= 0:
        return torch.zeros_like(image), 0.0
    return torch.where(mask, image / scale, 0).clamp(0, 1), scale
