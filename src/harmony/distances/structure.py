"""D(x, x_q): how far the structure of an image is from that of the query image (BlindHarmony)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harmony.distances.gradient import masked_gradient_l1, non_edge_mask
from harmony.distances.ncc import ncc


@dataclass(frozen=True, kw_only=True)
class StructuralDistance:
    """D(x, x_q) = b1 (1 - NCC(x, x_q)) + b2 || M * grad(x) ||_1 with M the non-edge mask of x_q.

    Jeong et al. 2023, arXiv 2305.10732. `percentile` and `floor` define M, see `non_edge_mask`.

    relative: b1 is in units of |x_q|^2, of each image on its own. A step -b1 d(1 - NCC)/dx moves x by

        b1 / |x|  (q - c u)          u = x / |x|,  q = x_q / |x_q|,  c = <u, q>     (uncentred)

    and |x| / c of this direction would lead onto the line through x_q: the step is the share b1 c / |x|^2 of a full
    projection, about b1 / |x|^2. A fixed b1 is thus another step at every image size, and overshoots where little brain
    is in a slice. In units of |x_q|^2 it is that share, whatever the size; and as |f(x)|^2 grows with the number
    of pixels, so does the distance that it is weighed against.
    """

    b1: float
    relative: bool
    b2: float
    centered: bool
    percentile: float
    floor: float

    def to(self, query: Tensor, mask: Tensor) -> DistanceToQuery:
        """The distance to one batch of query images (B, 1, H, W) with brain masks (B, 1, H, W)."""
        edges_off = non_edge_mask(query, mask, percentile=self.percentile, floor=self.floor)
        energy = query.square().flatten(1).sum(1)
        return DistanceToQuery(self, query, edges_off, self.b1 * (energy if self.relative else torch.ones_like(energy)))


@dataclass(frozen=True)
class DistanceToQuery:
    """x (B, 1, H, W) -> D(x, x_q), (B,), at least 0. Differentiable in x."""

    settings: StructuralDistance
    query: Tensor
    edges_off: Tensor
    b1: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        s = self.settings
        return self.b1 * (1 - ncc(x, self.query, centered=s.centered)) + s.b2 * masked_gradient_l1(x, self.edges_off)
