"""The edge term of BlindHarmony: gradients are penalised where the query image has no edge."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sobel(x: Tensor) -> Tensor:
    """3x3 Sobel derivatives: (B, 1, H, W) -> (B, 2, H, W), along H then along W; zero padding."""
    step = torch.arange(-1, 2, dtype=x.dtype, device=x.device)  # made where x is: a list would have to be moved there
    along_w = (2 - step.abs())[:, None] * step  # [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    return F.conv2d(x, torch.stack([along_w.T, along_w])[:, None], padding=1)


def non_edge_mask(query: Tensor, mask: Tensor, *, percentile: float, floor: float) -> Tensor:
    """M: where the query has no edge, one channel per direction. (B, 1, H, W) -> (B, 2, H, W) bool.

    Keeps the pixels whose |Sobel(query)| is at or below its `percentile` (0..100) and where query > `floor`.
    The percentile is taken inside the brain `mask`: over the whole of a skull-stripped slice more than 30 % of the
    gradients are exactly 0, the threshold would be 0 and the term would vanish. A slice without brain keeps nothing.
    """
    steepness = sobel(query).abs()
    inside = steepness.masked_fill(~mask, torch.nan)
    threshold = inside.flatten(2).nanquantile(percentile / 100, dim=2)[..., None, None]
    return (steepness <= threshold) & (query > floor) & mask


def masked_gradient_l1(x: Tensor, edges_off: Tensor) -> Tensor:
    """|| M * grad(x) ||_1, the sum over pixels and both directions. x (B, 1, H, W), M (B, 2, H, W) -> (B,)."""
    return (sobel(x).abs() * edges_off).flatten(1).sum(1)
