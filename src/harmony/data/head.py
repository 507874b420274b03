"""Brain or whole head: told by how much there is of it, so that zeros around a defaced head do not hide it."""

from __future__ import annotations

import numpy as np

HEAD_ML = 2500  # the largest skulls hold about 1900 ml; an adult's head down to the chin is more than 3000 ml


def looks_like_a_head(foreground: np.ndarray, affine: np.ndarray) -> bool:
    """Whether the largest connected part above 0 is too large for a brain.

    foreground: (X, Y, Z) bool, holes filled. affine: (4, 4), voxel -> mm. A field of view that cuts most of the head
    away, or a newborn's head, may pass: the brain mask is then the user's to give.
    """
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    return bool(foreground.sum() * voxel_ml > HEAD_ML)
