"""Tissue maps of a whole volume."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 2  # of the volume: the deblurred scan, and the scan
CONTEXT, HIDDEN = 12, 32  # channels of a pixel: what the U-Net says of it, and those of the layers that decide
BLOCK = 2  # pixels a side that become channels: the U-Net works on a grid of half the resolution


class TissueNet(nn.Module):
    """A U-Net on blocks of 2 x 2 pixels of a slice and its two neighbours (Shi et al. 2016, pixel shuffle), at a
    quarter of the cost, gives every pixel its context; two layers at full resolution decide by that and by the slices.

    volume (B, 2, S, H, W): the deblurred scan, and the scan -> (B, K, S, H, W) logits of K tissues. Any size: padded
    with zeros to what it can halve, and cropped back; beyond the first and the last slice there is nothing. The volume
    may be on another device than the network, and its logits are where it is.

    Args:
        tissues: names of the tissues, in the order of the labels 1 .. K.
        widths: channels at half the resolution, and at each further halving.
    """

    def __init__(self, *, tissues: Sequence[str], widths: Sequence[int]) -> None:
        super().__init__()
        self.divisor = BLOCK * 2 ** (len(widths) - 1)
        channels = 3 * CHANNELS  # of a slice and its neighbours
        self.down = nn.ModuleList(
            _Stage(before, width) for before, width in zip([channels * BLOCK**2, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            _Stage(below + width, width) for below, width in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.context = nn.Conv2d(widths[0], CONTEXT * BLOCK**2, 1)
        self.decide = nn.Sequential(_convolution(channels + CONTEXT, HIDDEN), nn.Conv2d(HIDDEN, len(tissues), 1))

    def forward(self, volume: Tensor) -> Tensor:
        height, width = volume.shape[-2:]
        padded = F.pad(volume.to(self.context.weight), (0, -width % self.divisor, 0, -height % self.divisor, 1, 1))
        beside = torch.cat((padded[:, :, :-2], padded[:, :, 1:-1], padded[:, :, 2:]), dim=1)
        slices = beside.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x, skips = F.pixel_unshuffle(slices, BLOCK), []
        for k, stage in enumerate(self.down):
            x = stage(F.avg_pool2d(x, 2) if k else x)
            skips.append(x)
        for stage, skip in zip(self.up, skips[-2::-1], strict=True):
            x = stage(torch.cat((F.interpolate(x, scale_factor=2, mode="nearest"), skip), dim=1))
        context = F.pixel_shuffle(self.context(x), BLOCK)
        logits = self.decide(torch.cat((slices, context), dim=1))[..., :height, :width]
        return logits.unflatten(0, (len(volume), -1)).transpose(1, 2).to(volume)


class _Stage(nn.Module):
    """conv -> norm -> SiLU, then the same around a shortcut."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.enter, self.stay = _convolution(before, width), _convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return x + self.stay(x)


def _convolution(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.SiLU())
