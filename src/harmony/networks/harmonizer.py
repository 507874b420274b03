"""The harmonizer of Harmonizing Flows: a shallow photometric map whose gain and bias a U-Net reads from the image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from harmony.networks.blocks import elu_conv, halve, upsample_to

GREY_LEVELS = 255.0


class Affine(NamedTuple):
    """`alpha * x + beta`: alpha (B, 1, 1, 1), a gain per image; beta (B, 1, H, W), a map in units of the image."""

    alpha: Tensor
    beta: Tensor

    def apply(self, image: Tensor) -> Tensor:
        """alpha * image + beta, not clamped and not masked (the caller does both, once, for loss and output alike)."""
        return self.alpha * image + self.beta


class Harmonizer(nn.Module):
    """x -> alpha(x) * x + beta(x), for images (B, 1, H, W) in [0, 1] of any size divisible by `divisor`.

    The map itself is `network(image).apply(image)`.

    Reference: Beizaee et al., arXiv 2301.11551 and 2407.15717. A U-Net with one resolution per width w_1..w_n:

        first stage       3x3 conv 1 -> w_1, without an activation before it
        stage k, down     max-pool 2, then two times (ConcatELU -> 3x3 conv), w_{k-1} -> w_k -> w_k
        stage k, up       bilinear x2, cat(up, skip) on channels, then two times (ConcatELU -> 3x3 conv) -> w_k -> w_k
        alpha             mean over the coarsest map -> 1x1 conv w_n -> 1
        beta              1x1 conv w_1 -> 1

    With widths 16, 32, 48, 64, 64 that is 160 + 373,664 down + 442,688 up + 65 + 17 = 816,594 parameters.

    context (ours): also read a second image beside the one that is mapped, for example the slice before its histogram
    was matched; the first convolution then has two input channels.

    grey_levels: the weights live in the authors' units: the first convolution sees 255 x, the bias head gives 255 beta.
    The same functions can be learned either way, but a rate means another dose (`grey_level_units`).

    Neutral point: `reset_to_identity` sets the weights of both heads to 0 and their biases to 1 and 0; alpha is then 1
    and beta 0 whatever the trunk holds, and the output is the input, bit for bit. A new network starts there.
    """

    def __init__(self, *, widths: Sequence[int], context: bool = False, grey_levels: bool = False) -> None:
        super().__init__()
        self.scale = GREY_LEVELS if grey_levels else 1.0
        self.divisor, self.context = 2 ** (len(widths) - 1), context
        self.first = nn.Conv2d(2 if context else 1, widths[0], 3, padding=1)
        self.down = nn.ModuleList(_twice(fine, coarse) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(_twice(coarse + fine, fine) for coarse, fine in pairwise(widths[::-1]))
        self.alpha_head = nn.Conv2d(widths[-1], 1, 1)
        self.beta_head = nn.Conv2d(widths[0], 1, 1)
        self.reset_to_identity()

    def forward(self, image: Tensor, context: Tensor | None = None) -> Affine:
        """The gain and the bias map for each image, (B, 1, H, W) in [0, 1]; context alike, if the network reads one."""
        self._check(image)
        if (context is not None) != self.context:
            raise ValueError(f"this harmonizer reads {'a' if self.context else 'no'} context image")
        seen = image if context is None else torch.cat((image, context), dim=1)
        x = self.first((self.scale * seen).contiguous(memory_format=torch.channels_last))
        skips = []
        for stage in self.down:
            skips.append(x)
            x = stage(halve(x))
        alpha = self.alpha_head(x.mean(dim=(-2, -1), keepdim=True))
        for stage, skip in zip(self.up, reversed(skips), strict=True):
            x = stage((upsample_to(x, skip), skip))
        return Affine(alpha, self.beta_head(x) / self.scale)

    @torch.no_grad()
    def reset_to_identity(self) -> None:
        """Go to the neutral point: alpha 1, beta 0."""
        for head, value in ((self.alpha_head, 1.0), (self.beta_head, 0.0)):
            head.weight.zero_()
            assert head.bias is not None
            head.bias.fill_(value)

    def heads(self) -> list[nn.Parameter]:
        """The parameters of the two heads, for an adaptation that leaves the trunk alone."""
        return [*self.alpha_head.parameters(), *self.beta_head.parameters()]

    def grey_level_units(self) -> dict[nn.Parameter, float]:
        """Each parameter w -> k of w = k w', w' the parameter of the network in grey levels that is the same function.

        first(255 x) with w' = w / 255 is first(x) with w, and beta' = 255 beta; nothing between them changes.
        """
        weight, _ = self.first.parameters()
        units = dict.fromkeys(self.parameters(), 1.0)
        units |= dict.fromkeys(self.beta_head.parameters(), self.scale / GREY_LEVELS)
        return units | {weight: GREY_LEVELS / self.scale}

    def _check(self, image: Tensor) -> None:
        if image.dim() != 4 or image.shape[1] != 1 or any(n % self.divisor for n in image.shape[-2:]):
            wanted = f"(B, 1, H, W) with H and W divisible by {self.divisor}"
            raise ValueError(f"the harmonizer takes {wanted}, got {tuple(image.shape)}")


def _twice(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(elu_conv(in_channels, out_channels), elu_conv(out_channels, out_channels))
