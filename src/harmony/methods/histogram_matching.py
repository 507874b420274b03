"""Histogram matching to the pooled intensities of the reference domain."""

from __future__ import annotations

import torch
from skimage.exposure import match_histograms

from harmony.core import Harmonized, Stack
from harmony.core.reference import Reference
from harmony.methods.base import Method


class HistogramMatching(Method):
    """x_h = F_ref^-1(F_query(x)) inside the brain, over all slices of the stack and the same part of reference brains.

    A strictly monotone intensity change of the query leaves the result unchanged, whatever the change was.
    """

    def __init__(self, *, reference: Reference) -> None:
        self.reference = reference

    def harmonize(self, stack: Stack) -> Harmonized:
        image = torch.zeros_like(stack.image)
        inside = stack.image[stack.mask].cpu().numpy()
        reference = self.reference.pooled(stack.position).numpy()
        matched = match_histograms(inside, reference) if inside.size else inside
        image[stack.mask] = torch.as_tensor(matched, dtype=image.dtype, device=image.device).clamp(0, 1)
        return Harmonized(image)
