"""Landmark standardization (Nyul and Udupa 1999; Nyul et al. 2000) to the intensities of the reference domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from harmony.core import Harmonized, Stack
from harmony.core.intensity_curve import IntensityCurve
from harmony.core.reference import Reference, curved
from harmony.methods.base import Method


class Nyul(Method):
    """The line through (p_k of the query, p_k of the reference) inside the brain, continued straight at both ends.

    percentiles: the landmarks p_k, ascending, in 0..100. The reference's are those of its pooled intensities over the
    same part of the brain, in place of landmarks averaged over subjects: its volumes already share one robust scale.
    """

    def __init__(self, *, reference: Reference, percentiles: Sequence[float]) -> None:
        self.reference, self.percentiles = reference, list(percentiles)

    def harmonize(self, stack: Stack) -> Harmonized:
        inside = stack.image[stack.mask].cpu().double().numpy()
        if not inside.size:
            return Harmonized(torch.zeros_like(stack.image))
        wanted = np.percentile(self.reference.pooled(stack.position).numpy(), self.percentiles)
        levels = np.unique(inside)
        values = through_landmarks(levels, np.percentile(inside, self.percentiles), wanted).clip(0, 1)
        curve = IntensityCurve(levels, values)
        return Harmonized(curved(stack, curve), curve=curve)


def through_landmarks(values: np.ndarray, landmarks: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Piecewise linear through (landmarks, wanted), both ascending; the first and last piece go on beyond their ends.

    Landmarks that coincide (a flat stretch of the histogram) count as one, which goes to the mean of what they want.
    """
    at, group = np.unique(landmarks, return_inverse=True)
    to = np.bincount(group, wanted) / np.bincount(group)
    if len(at) == 1:
        return np.full_like(values, to[0])
    first, last = ((to[k + 1] - to[k]) / (at[k + 1] - at[k]) for k in (0, len(at) - 2))
    below, above = np.minimum(values - at[0], 0), np.maximum(values - at[-1], 0)
    return np.interp(values, at, to) + first * below + last * above
