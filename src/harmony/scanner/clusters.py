"""Tissues of a volume that nobody has labelled."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony.scanner.contrast import FLOOR, brain_box, cubic, places

LLOYD = 20  # rounds of k-means: intensities of one brain have settled long before


def intensity_clusters(image: Tensor, mask: Tensor, tissues: int) -> Tensor:
    """(S, H, W) 1 .. K by rising intensity, 0 outside: k-means of the intensity less its smooth trend in space.

    The trend (a cubic, of the log intensity) is where the reference's own shading goes: a cluster is a matter of
    intensity and place.
    """
    inside = image[mask].clamp(min=FLOOR).log()
    out = torch.zeros(mask.shape, dtype=torch.int16, device=image.device)
    if len(inside) < tissues:
        return out
    terms = cubic(places(brain_box(mask), mask.nonzero()))[:, 1:]
    terms = terms - terms.mean(0)
    trend = torch.zeros_like(inside)
    for _ in range(2):  # tissues and trend by turns: each hides the other
        centres, which = _means(inside - trend, tissues)
        trend = _trend(inside - centres[which], terms)
    out[mask] = (_means(inside - trend, tissues)[1] + 1).to(torch.int16)
    return out


def _means(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Centres in ascending order, and the index of each value's own."""
    ordered = values.sort().values
    centres = ordered[((torch.arange(count) + 0.5) / count * len(ordered)).long()]
    which = torch.zeros(len(values), dtype=torch.long)
    for _ in range(LLOYD):
        which = torch.bucketize(values, (centres[1:] + centres[:-1]) / 2)
        total = torch.zeros(count).index_add(0, which, values)
        number = which.bincount(minlength=count)
        centres = torch.where(number > 0, total / number.clamp(min=1), centres)
    return centres, which


def _trend(values: Tensor, terms: Tensor) -> Tensor:
    normal = terms.T.double() @ terms.double() + 1e-3 * len(values) * torch.eye(terms.shape[1]).double()
    return terms @ torch.linalg.solve(normal, terms.T.double() @ values.double()).float()
