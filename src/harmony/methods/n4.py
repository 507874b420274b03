"""N4 bias field correction (Tustison et al. 2010) as a step of a chain."""

from __future__ import annotations

import numpy as np
import torch

from harmony.core import Harmonized, Stack
from harmony.data import n4
from harmony.methods.base import Method


class N4(Method):
    """The slices of a volume divided by their common shading. The field's level is arbitrary: the brain's mean stays.

    Needs SimpleITK. The spacing of the slices is not known here, and not needed: N4's spline mesh has as many control
    points along every axis, whatever its length. levels: how fine that mesh becomes (`harmony.data.n4`).
    """

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def harmonize(self, stack: Stack) -> Harmonized:
        if not stack.mask.any():
            return Harmonized(torch.zeros_like(stack.image))
        even = n4(stack.image[:, 0].cpu().numpy(), stack.mask[:, 0].cpu().numpy(), np.ones(3), self.levels)
        image = torch.where(stack.mask, torch.from_numpy(even)[:, None].to(stack.image), 0)
        level = stack.image[stack.mask].mean() / image[stack.mask].mean().clamp(min=1e-6)
        return Harmonized((level * image).clamp(0, 1))
