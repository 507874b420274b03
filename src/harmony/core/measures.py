"""How bright and how sharp an image is: the two measures that every room means the same by."""

from __future__ import annotations

import numpy as np
from torch import Tensor

FWHM_PER_SIGMA = 2.3548
DARKEST = 1e-6  # of a robust maximum that something is divided by: a brain without intensities has no scale


def robust_maximum(image: Tensor, mask: Tensor, percentile: float) -> float:
    """The intensity below which `percentile` % of the voxels inside the mask lie, linear between two voxels; 0 for an
    empty mask."""
    inside = image[mask].float().cpu()  # torch's own quantile refuses more than 2^24 values
    return float(np.percentile(inside.numpy(), percentile)) if len(inside) else 0.0
