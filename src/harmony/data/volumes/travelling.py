"""Travelling subjects: the scan of one scanner on the grid of the same person's scan of another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from harmony.core import DataError, Volume

REGISTERED = 0.8  # least Dice of two brain masks of one person
LATTICE = 0.05  # voxels: what is off by less is on the same lattice


def on_one_lattice(volume: Volume, other: Volume) -> bool:
    """Whether the voxels of the one fall on voxels of the other, so that resampling makes no value up."""
    across = np.linalg.solve(volume.affine, other.affine)
    return bool(np.allclose(across, np.round(across), atol=LATTICE))


def on_grid_of(volume: Volume, other: Volume) -> Volume:
    """The volume, resampled to the slices and pixels of `other` by their world coordinates.

    Linear for the image, divided by the mask resampled alike (the zeros outside the brain do not darken its rim);
    nearest for masks and labels. Off one lattice the image becomes smoother than it was (`on_one_lattice`). Raises
    DataError where the brains do not lie on one another.
    """
    from monai.data import MetaTensor
    from monai.transforms import SpatialResample

    def moved(values: Tensor, mode: str) -> Tensor:
        resample = SpatialResample(mode=mode, padding_mode="zeros", dtype=torch.float64)
        image = MetaTensor(values[None].double(), affine=torch.from_numpy(volume.affine))
        affine = torch.from_numpy(other.affine)
        return resample(image, dst_affine=affine, spatial_size=other.image.shape)[0].as_tensor()

    def nearest(values: Tensor | None) -> Tensor | None:
        return None if values is None else moved(values, "nearest").round().to(values.dtype)

    mask = moved(volume.mask, "nearest") > 0.5
    overlap = 2 * int((mask & other.mask).sum()) / (int(volume.mask.sum()) + int(other.mask.sum()))
    if overlap < REGISTERED:
        raise DataError(
            f"the brain overlaps with that of {volume.scan.path} by a Dice of {overlap:.2f} only",
            cure="register the scans of travelling subjects to one another first, or say paired: false",
            path=other.scan.path,
            subject=other.scan.subject,
        )
    weight = moved(volume.mask, "bilinear")
    image = (moved(volume.image, "bilinear") / weight.clamp(min=0.05)).clamp(0, 1)
    image = torch.where(mask, image, 0).float()
    return replace(
        volume,
        image=image,
        mask=mask,
        labels=nearest(volume.labels),
        lesions=nearest(volume.lesions),
        affine=other.affine,
    )
