"""`cat(elu(x), elu(-x))` in one walk through the memory: it is most of what a U-Net of these does beside convolutions.

With e = expm1(-|x|), elu(x) = max(x, e) and elu(-x) = max(-x, e): one exponential does for both signs. On a CPU the
maps are larger than the cache, so the work is done piece by piece, each piece from its reading to its last use.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_PIECE = 1 << 15  # values of x at a time: with what is made of them they stay in a core's second cache
_WORTH_IT = 1 << 18  # values of x below which the calls cost more than the memory


def concat_elu(parts: tuple[Tensor, ...]) -> Tensor:
    """cat(elu(x), elu(-x)) for x = cat(parts), all on the channels: (B, C_i, H, W) -> (B, 2 sum C_i, H, W)."""
    if _in_pieces(parts):
        return _ConcatELU.apply(*parts)
    # In place on the fresh concatenation: autograd then keeps one tensor of 2C channels, and the convolution that
    # follows keeps the same one, instead of x, -x and their concatenation.
    return F.elu(torch.cat((*parts, *(-x for x in parts)), dim=1), inplace=True)


def _in_pieces(parts: tuple[Tensor, ...]) -> bool:
    if torch.compiler.is_compiling() or parts[0].device.type != "cpu" or parts[0].dtype != torch.float32:
        return False  # a compiler, and a GPU's cache, need no help; half precision rounds the exponential otherwise
    last = all(x.is_contiguous(memory_format=torch.channels_last) for x in parts)
    return last and sum(x.numel() for x in parts) >= _WORTH_IT


class _ConcatELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        batch, _, height, width = parts[0].shape
        ends = [0]
        for x in parts:
            ends.append(ends[-1] + x.shape[1])
        out = parts[0].new_empty(batch, height, width, 2 * ends[-1])
        both = out.flatten(0, 2).split(ends[-1], dim=1)
        for x, (start, end) in zip(parts, pairwise(ends), strict=True):
            rows = max(1, _PIECE // (end - start))
            pieces = (values.split(rows) for values in (_pixels(x), *(half[:, start:end] for half in both)))
            for piece, positive, negative in zip(*pieces, strict=True):
                minus = -piece
                e = torch.minimum(piece, minus).expm1_()
                torch.maximum(piece, e, out=positive)
                torch.maximum(minus, e, out=negative)
        ctx.save_for_backward(out)
        ctx.ends = ends
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        (out,) = ctx.saved_tensors
        ends, (*pixels, channels) = ctx.ends, out.shape
        gradients = [out.new_empty(*pixels, end - start) for start, end in pairwise(ends)]
        rows = max(1, _PIECE // channels)
        pieces = zip(*(g.flatten(0, 2).split(rows) for g in gradients), strict=True)
        kept = out.flatten(0, 2).split(rows)
        for y, dy, dxs in zip(kept, _pixels(gradient).split(rows), pieces, strict=True):
            slopes = torch.ops.aten.elu_backward(dy, 1, 1, 1, True, y)
            for dx, (start, end) in zip(dxs, pairwise(ends), strict=True):
                torch.sub(slopes[:, start:end], slopes[:, ends[-1] + start : ends[-1] + end], out=dx)
        return tuple(g.permute(0, 3, 1, 2) for g in gradients)


def _pixels(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B H W, C), a view where the memory is channels_last."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)
