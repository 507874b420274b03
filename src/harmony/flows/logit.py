"""The unit interval opened to the real line."""

from __future__ import annotations

import math

import torch
from nflows.transforms import Transform
from torch import Tensor
from torch.nn import functional as F


class Logit(Transform):
    """z = log(p / (1 - p)),  p = margin / 2 + (1 - margin) (y + 1/2),  for y in [-1/2, 1/2].

    log |det dz/dy| = sum of log((1 - margin) / (p (1 - p))).

    Outside [-1/2, 1/2] the map goes on as the tangent at the end, so it is a bijection of the real line: an optimiser
    may step over the edge of [0, 1] and still get finite values and a gradient that leads back.
    """

    def __init__(self, *, margin: float) -> None:
        super().__init__()
        self.margin = margin
        self.least = margin / 2
        self.bound = math.log1p(-self.least) - math.log(self.least)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        inside = inputs.clamp(-0.5, 0.5)
        p = self.least + (1 - self.margin) * (0.5 + inside)
        q = self.least + (1 - self.margin) * (0.5 - inside)  # 1 - p, without its cancellation near p = 1
        slope = (1 - self.margin) / (p * q)
        outputs = p.log() - q.log() + (inputs - inside) * slope.detach()
        return outputs, _total(slope.log())

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        inside = inputs.clamp(-self.bound, self.bound)
        log_slope = log_sigmoid_slope(inside) - math.log(1 - self.margin)
        outputs = (torch.sigmoid(inside) - 0.5) / (1 - self.margin) + (inputs - inside) * log_slope.exp().detach()
        return outputs, _total(log_slope)


def log_sigmoid_slope(x: Tensor) -> Tensor:
    """log d sigmoid(x) / dx = log sigmoid(x) + log sigmoid(-x), pixel by pixel."""
    return -F.softplus(x) - F.softplus(-x)


def _total(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)
