"""Travelling subjects: the scan of one scanner on the grid of the same person's scan of another."""

from __future__ import annotations

from dataclasses import replace

import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from torch import Tensor

from harmony.core import DataError, Volume

REGISTERED = 0.8  # least Dice of two brain masks of one person


def on_grid_of(volume: Volume, other: Volume) -> Volume:
    """The volume, resampled to the slices and pixels of `other` by their world coordinates.

    Linear for the image, nearest for masks and labels. Raises DataError where the brains do not lie on one another.
    """

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
    image = torch.where(mask, moved(volume.image, "bilinear").clamp(0, 1), 0).float()
    return replace(
        volume,
        image=image,
        mask=mask,
        labels=nearest(volume.labels),
        lesions=nearest(volume.lesions),
        affine=other.affine,
    )
