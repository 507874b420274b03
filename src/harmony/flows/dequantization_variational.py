"""Noise within a grey level whose distribution is learned from the image."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from nflows.transforms import CompositeTransform, Transform
from torch import Tensor

from harmony.flows.dequantization import Dequantization, Dequantized
from harmony.flows.logit import Logit, log_sigmoid_slope


class VariationalDequantization(Dequantization):
    """u = sigmoid(g(logit(noise) | 2 image - 1)),  log q(u | image) = -log |det du/dnoise|.

    Ho et al., Flow++, arXiv 1902.00275. `couplings` make up g; each gets the image in [-1, 1] as its context.
    """

    def __init__(self, couplings: Iterable[Transform], *, margin: float) -> None:
        super().__init__()
        self.flow = CompositeTransform([Logit(margin=margin), *couplings])

    def forward(self, image: Tensor, noise: Tensor) -> Dequantized:
        with torch.autocast(image.device.type, enabled=False):  # as ImageDensity does around its transform
            x, logabsdet = self.flow(noise - 0.5, context=2 * image - 1)
        return Dequantized(torch.sigmoid(x), -logabsdet - log_sigmoid_slope(x).flatten(1).sum(1))
