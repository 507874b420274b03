"""Brain or whole head: told by how much there is of it, so that zeros around a defaced head do not hide it."""

from __future__ import annotations

import numpy as np

from harmony.core import DataError, Scan
from harmony.data.nifti import Nifti
from harmony.data.transforms import foreground

HEAD_ML = 2500  # the largest skulls hold about 1900 ml; an adult's head down to the chin is more than 3000 ml


def refuse_a_head(scan: Scan, native: Nifti) -> None:
    """Raises DataError for a whole head without a brain mask."""
    if scan.mask is None and looks_like_a_head(foreground(native.data), native.affine):
        raise DataError(
            "more than a brain is above 0: a head whose skull is still on",
            cure="strip the skull, give a brain mask with mask=, or let SynthStrip or HD-BET find it: mask=auto",
            path=scan.path,
            subject=scan.subject,
        )


def looks_like_a_head(inside: np.ndarray, affine: np.ndarray) -> bool:
    """Whether the largest connected part above 0 is too large for a brain.

    inside: (X, Y, Z) bool, holes filled. affine: (4, 4), voxel -> mm. A field of view that cuts most of the head away,
    or a newborn's head, may pass: the brain mask is then the user's to give.
    """
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    return bool(inside.sum() * voxel_ml > HEAD_ML)
