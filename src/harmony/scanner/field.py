"""Smooth fields of a whole volume, without a shape that they must have: weighted means over a Gaussian's neighbourhood.

Fields are log factors on a coarse grid of blocks; nothing in them is finer than that.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from harmony.scanner.contrast import FLOOR

BLOCK_MM = 6.0  # side of a block, about: a third of the narrowest Gaussian
ROUGH = 16.0  # mm: sigma of a first guess, which tissues may shine through
LEVEL = 0.65  # that a brain is brought to by its rough field: about what it is with its robust maximum at 1


def rough_field(image: Tensor, mask: Tensor, spacing: float, shape: torch.Size | None = None) -> Tensor:
    """(S, H, W) the log image smoothed inside its mask, less log `LEVEL`: a shading, if no tissue is known.

    spacing: voxel side, mm. shape: of a finer volume, of whose blocks the image's voxels are the middles.
    """
    log = image.clamp(min=FLOOR).log()
    if shape is None:
        return smooth_mean(log, mask.to(log), spacing, ROUGH) - math.log(LEVEL)
    blocks = _weighted(log, mask.to(log), ROUGH / spacing)
    return over(blocks, shape, round(shape[0] / len(image))) - math.log(LEVEL)


def smooth_mean(values: Tensor, weight: Tensor, spacing: float, sigma: float) -> Tensor:
    """(S, H, W) G * (w v) / G * w everywhere; sigma and spacing in mm."""
    block = max(round(BLOCK_MM / spacing), 1)
    total, count = block_sums(values * weight, block), block_sums(weight, block)
    return over(_ratio(total, count, sigma / (block * spacing)), values.shape, block)


def block_sums(values: Tensor, block: int) -> Tensor:
    """(S, H, W) -> sums over cubes of `block` voxels a side; beyond the volume's end there is nothing."""
    pad = [edge for size in reversed(values.shape) for edge in (0, -size % block)]
    return F.avg_pool3d(F.pad(values, pad)[None], block)[0] * block**3


def over(blocks: Tensor, shape: torch.Size, block: int) -> Tensor:
    """Linear between the middles of blocks, and constant beyond them, at the voxels of a volume of that shape."""
    short = [
        edge
        for have, size in zip(reversed(blocks.shape), reversed(shape), strict=True)
        for edge in (0, max(-(-size // block) - have, 0))
    ]
    blocks = F.pad(blocks[None, None], short, mode="replicate")[0, 0]
    fine = F.interpolate(blocks[None, None], scale_factor=block, mode="trilinear")[0, 0]
    return fine[: shape[0], : shape[1], : shape[2]]


def gaussian(values: Tensor, sigma: float) -> Tensor:
    """(S, H, W) summed with a Gaussian of that many voxels along each axis; nothing beyond the ends."""
    radius = max(math.ceil(3 * sigma), 1)
    kernel = torch.exp(-torch.arange(-radius, radius + 1).to(values).square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    for axis in range(3):
        lines = values.movedim(axis, -1)
        flat = F.conv1d(lines.reshape(-1, 1, lines.shape[-1]), kernel[None, None], padding=radius)
        values = flat.reshape(lines.shape).movedim(-1, axis)
    return values


def _weighted(values: Tensor, weight: Tensor, sigma: float) -> Tensor:
    return _ratio(values * weight, weight, sigma)


def _ratio(total: Tensor, count: Tensor, sigma: float) -> Tensor:
    """Where there is nothing near, the mean of all."""
    mean = total.sum() / count.sum().clamp(min=1e-6)
    weight = gaussian(count, sigma)
    return (gaussian(total, sigma) + 1e-6 * mean) / (weight + 1e-6)
