"""Masked affine coupling: half of an image moves, by a scale and a shift that the other half decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from nflows.transforms import Transform
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

MaskKind = Literal["checkerboard", "channel"]


class MaskedAffineCoupling(Transform):
    """z' = (z + t) * exp(s) where the mask is 0, z' = z where it is 1, for z of shape (B, C, H, W).

        (s, t) = conditioner(cat(mask * z, context))        s <- tanh(s / e^g) * e^g
        log |det dz'/dz| = sum of s over the moving pixels

    g: one learned scale per channel; |s| < e^g keeps exp(s) finite. Reference: Dinh et al. 2017 (RealNVP), with the
    bounded scale of Beizaee et al. 2023.

    Args:
        conditioner: (B, C + K, H, W) -> (B, 2C, H, W); K channels of context, 0 where a flow gives none.
        mask: "checkerboard" is 1 where row + column + parity is even; "channel" is 1 on the first half of the channels
            for parity 0 and on the second half for parity 1.
        dtype: of the arithmetic inside the conditioner; None for that of z. The coupling itself keeps the dtype of z.
        recompute: keep only z for the backward pass and run the conditioner again there: the memory of one conditioner
            instead of all of them, for one more forward pass.
    """

    def __init__(
        self,
        conditioner: nn.Module,
        *,
        channels: int,
        mask: MaskKind,
        parity: int,
        dtype: torch.dtype | None,
        recompute: bool,
    ) -> None:
        super().__init__()
        if mask == "channel" and channels % 2:
            raise ValueError(f"a channel mask halves the channels, got {channels}")
        self.conditioner = conditioner
        self.log_bound = nn.Parameter(torch.zeros(channels))
        self.mask, self.parity, self.dtype, self.recompute = mask, parity, dtype, recompute

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(self._forward, inputs, context)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(self._inverse, inputs, context)

    def _run(
        self, function: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]], z: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(function, z, context, use_reentrant=False, preserve_rng_state=False)
        return function(z, context)

    def _forward(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(z, context)
        return (z + t) * s.exp(), s.sum(dim=(1, 2, 3))

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(z, context)
        return z * (-s).exp() - t, -s.sum(dim=(1, 2, 3))

    def _scale_and_shift(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """s and t, zero on the half that stays; read from that half alone, which both directions hold."""
        stays = coupling_mask(z, self.mask, self.parity)
        seen = z * stays if context is None else torch.cat((z * stays, context), dim=1)
        s, t = self._condition(seen).chunk(2, dim=1)
        bound = self.log_bound.exp().view(1, -1, 1, 1)
        moves = 1 - stays
        return torch.tanh(s / bound) * bound * moves, t * moves

    def _condition(self, seen: Tensor) -> Tensor:
        if self.dtype is None:
            return self.conditioner(seen)
        weights = {name: weight.to(self.dtype) for name, weight in self.conditioner.named_parameters()}
        return functional_call(self.conditioner, weights, seen.to(self.dtype)).to(seen.dtype)


def coupling_mask(z: Tensor, kind: MaskKind, parity: int) -> Tensor:
    """1 on the half that stays: (1, 1, H, W) for a checkerboard, (1, C, 1, 1) for channels; dtype and device of z."""
    _, channels, height, width = z.shape
    if kind == "checkerboard":
        row = torch.arange(height, device=z.device).view(-1, 1)
        column = torch.arange(width, device=z.device)
        even = (row + column + parity) % 2 == 0
        return even.to(z.dtype).view(1, 1, height, width)
    first = torch.arange(channels, device=z.device) < channels // 2
    return (first if parity == 0 else ~first).to(z.dtype).view(1, -1, 1, 1)
