"""Building blocks shared by the harmonizer and by the conditioners of the Harmonizing Flow."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConcatELU(nn.Module):
    """`cat(elu(x), elu(-x))` on the channels: (B, C, H, W) -> (B, 2C, H, W). Of several x: of their concatenation.

    Both signs keep a gradient (van den Oord et al. 2016, PixelCNN).
    """

    def forward(self, x: Tensor | tuple[Tensor, ...]) -> Tensor:
        parts = (x,) if isinstance(x, Tensor) else x
        # In place on the fresh concatenation: autograd then keeps one tensor of 2C channels, and the convolution that
        # follows keeps the same one, instead of x, -x and their concatenation.
        return F.elu(torch.cat((*parts, *(-part for part in parts)), dim=1), inplace=True)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel: (B, C, H, W) -> the same shape.

    A view without a copy where the memory is channels_last.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def elu_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """ConcatELU -> 3x3 convolution: 18 * in * out + out parameters."""
    return nn.Sequential(ConcatELU(), nn.Conv2d(2 * in_channels, out_channels, 3, padding=1))


def upsample_to(x: Tensor, skip: Tensor) -> Tensor:
    """Bilinear (corners aligned) to the height and width of `skip`: twice the size, or one less where that was odd."""
    return F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)


def halve(x: Tensor) -> Tensor:
    """Max-pool by 2, rounding up: an odd last row or column is kept, so a map never vanishes (1 -> 1)."""
    return F.max_pool2d(x, 2, ceil_mode=True)
