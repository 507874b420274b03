"""D(x, x_q): how far the structure of an image is from that of the query image (BlindHarmony)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from harmony.distances.gradient import masked_gradient_l1, non_edge_mask
from harmony.distances.ncc import ncc


@dataclass(frozen=True, kw_only=True)
class StructuralDistance:
    """D(x, x_q) = b1 (1 - NCC(x, x_q)) + b2 || M * grad(x) ||_1 with M the non-edge mask of x_q.

    Jeong et al. 2023, arXiv 2305.10732. `percentile` and `floor` define M, see `non_edge_mask`.
    """

    b1: float
    b2: float
    centered: bool
    percentile: float
    floor: float

    def to(self, query: Tensor, mask: Tensor) -> DistanceToQuery:
        """The distance to one batch of query images (B, 1, H, W) with brain masks (B, 1, H, W)."""
        edges_off = non_edge_mask(query, mask, percentile=self.percentile, floor=self.floor)
        return DistanceToQuery(self, query, edges_off)


@dataclass(frozen=True)
class DistanceToQuery:
    """x (B, 1, H, W) -> D(x, x_q), (B,), at least 0. Differentiable in x."""

    settings: StructuralDistance
    query: Tensor
    edges_off: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        s = self.settings
        return s.b1 * (1 - ncc(x, self.query, centered=s.centered)) + s.b2 * masked_gradient_l1(x, self.edges_off)
