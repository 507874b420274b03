"""The conditioner of the Harmonizing Flow's couplings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.networks.blocks import ChannelNorm, elu_conv, halve, upsample_to


class CouplingUNet(nn.Module):
    """(B, in_channels, H, W) -> (B, out_channels, H, W), any H and W.

    One block, ConcatELU -> 3x3 conv -> LayerNorm over channels, at each resolution down and up; max-pools between;
    bilinear up; skips by concatenation; a 1x1 convolution at the end, zero at the start so that a new coupling is the
    identity. With widths 16, 32, 48, 64 (three max-pools) that is 249,600 + 288 * in + 17 * out parameters.

    Sizes that the pools cannot halve are rounded up on the way down and interpolated to the skip's size on the way up,
    so a coupling may act on the small maps that squeezing leaves.
    """

    def __init__(self, *, in_channels: int, out_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.first = _block(in_channels, widths[0])
        self.down = nn.ModuleList(_block(fine, coarse) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(_block(coarse + fine, fine) for coarse, fine in pairwise(widths[::-1]))
        self.last = nn.Conv2d(widths[0], out_channels, 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.contiguous(memory_format=torch.channels_last))
        skips = []
        for block in self.down:
            skips.append(x)
            x = block(halve(x))
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = block((upsample_to(x, skip), skip))
        # A 1x1 convolution as the matrix product that it is: for so few channels torch takes its slow way otherwise.
        return F.linear(x.permute(0, 2, 3, 1), self.last.weight.flatten(1), self.last.bias).permute(0, 3, 1, 2)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(*elu_conv(in_channels, out_channels), ChannelNorm(out_channels))
