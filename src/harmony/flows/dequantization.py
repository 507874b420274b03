"""Noise that turns grey levels into a continuous image, and the price of that noise.

A density p over the reals bounds the probability P of a grey-level image v with any noise distribution q on [0, 1):

    log P(v) >= E_{u ~ q(.|v)} [ log p(v + u) - log q(u | v) ]

Uniform noise has log q = 0 (Theis et al., arXiv 1511.01844); a learned q tightens the bound (Flow++, arXiv 1902.00275).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Dequantized(NamedTuple):
    """u: (B, 1, H, W) in [0, 1), where in its bin each pixel falls. log_q: (B,) nats, log q(u | image)."""

    u: Tensor
    log_q: Tensor


class Dequantization(nn.Module, ABC):
    """A noise distribution q(u | image), written as a map of uniform noise so that its gradient is exact."""

    @abstractmethod
    def forward(self, image: Tensor, noise: Tensor) -> Dequantized:
        """image: (B, 1, H, W) in [0, 1], on its grid of grey levels; noise: the same shape, uniform in [0, 1)."""


class UniformDequantization(Dequantization):
    """u = noise, log q = 0."""

    def forward(self, image: Tensor, noise: Tensor) -> Dequantized:
        return Dequantized(noise, image.new_zeros(len(image)))


def draw_noise(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform noise in [0, 1) of the dtype and on the device of `like`.

    Drawn in float32 on the CPU and moved, so that a CPU and a GPU, a float32 and a float64 model see the same field.
    Pinned for a GPU: only then is the move queued, and the host does not wait for all that was queued before it.
    """
    noise = torch.rand(shape, generator=generator, dtype=torch.float32, pin_memory=like.is_cuda)
    return noise.to(like, non_blocking=True)
