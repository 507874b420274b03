"""Tissue maps of a whole volume, and what a restored volume still lacks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 4
CONSTANTS = 3
CUBIC = 20  # terms of a cubic in space
BLOCK = 2  # voxels a side that become channels: the network works on a grid of half the resolution


class TissueNet(nn.Module):
    """A three-dimensional U-Net on blocks of 2 x 2 x 2 voxels (Shi et al. 2016, pixel shuffle): every voxel is read and
    written, at an eighth of the cost.

    volume (B, 2 + tissues, S, H, W): the deblurred scan, the scan, and the deblurred scan's log intensity over what each
    tissue should have under the scanner as it is known so far. constants (B, 3): whether the scanner is known (1) or not
    (0), blur in voxels, noise. -> (B, tissues + 1, S, H, W): a logit per tissue, and a correction of the intensity.
    Any size: zero-padded to what it can halve, and cropped back.

    Args:
        widths: channels at half the resolution, and at each further halving.
        frequencies: bins of the reference's spectrum.

    Buffers, learned from the reference scans alone, so that they travel with the weights: coefficients, spread (of
    `TissueIntensity`) and spectrum (of `mean_spectrum`).
    """

    coefficients: Tensor
    spread: Tensor
    spectrum: Tensor

    def __init__(self, *, tissues: int, widths: Sequence[int], frequencies: int) -> None:
        super().__init__()
        self.divisor = BLOCK * 2 ** (len(widths) - 1)
        self.tissues = tissues
        first = (2 + tissues) * BLOCK**3 + CONSTANTS
        self.down = nn.ModuleList(
            _Stage(before, width) for before, width in zip([first, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            _Stage(below + width, width) for below, width in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.out = nn.Conv3d(widths[0], (tissues + 1) * BLOCK**3, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        levels = torch.linspace(0.3, 0.8, tissues).log()
        self.register_buffer("coefficients", F.pad(levels[:, None], (0, CUBIC - 1)))
        self.register_buffer("spread", torch.full((tissues,), 0.2))
        self.register_buffer("spectrum", torch.logspace(4, -3, frequencies))

    def forward(self, volume: Tensor, constants: Tensor) -> Tensor:
        size = volume.shape[-3:]
        padded = F.pad(volume, [edge for n in reversed(size) for edge in (0, -n % self.divisor)])
        x = _blocks(padded)
        x = torch.cat((x, constants[..., None, None, None].expand(-1, -1, *x.shape[2:])), dim=1)
        skips = []
        for k, stage in enumerate(self.down):
            x = stage(F.avg_pool3d(x, 2) if k else x)
            skips.append(x)
        for stage, skip in zip(self.up, skips[-2::-1], strict=True):
            x = stage(torch.cat((F.interpolate(x, scale_factor=2, mode="nearest"), skip), dim=1))
        return _voxels(self.out(x))[..., : size[0], : size[1], : size[2]]


class _Stage(nn.Module):
    """conv -> norm -> SiLU, then the same around a shortcut."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv3d(before, width, 3, padding=1), nn.GroupNorm(_groups(width), width), nn.SiLU())
        self.stay = nn.Sequential(nn.Conv3d(width, width, 3, padding=1), nn.GroupNorm(_groups(width), width), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return x + self.stay(x)


def _groups(width: int) -> int:
    return GROUPS if width % GROUPS == 0 else 1


def _blocks(x: Tensor) -> Tensor:
    """(B, C, S, H, W) -> (B, 8 C, S/2, H/2, W/2)."""
    b, c, s, h, w = x.shape
    x = x.view(b, c, s // 2, 2, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, c * 8, s // 2, h // 2, w // 2)


def _voxels(x: Tensor) -> Tensor:
    """The inverse of `_blocks`."""
    b, c, s, h, w = x.shape
    x = x.view(b, c // 8, 2, 2, 2, s, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c // 8, s * 2, h * 2, w * 2)
