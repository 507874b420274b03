"""Shading as surface coils make it: bright near each of them, falling off with depth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from harmony.scanner import Box

FEWEST, MOST = 2, 16  # coils
NEAR, FAR = 1.1, 1.8  # of a coil's centre from the brain's, in halves of the brain box: helmets are of one size
SMALL, LARGE = 0.4, 1.2  # radius of a loop, likewise
UNEVEN = 0.5  # deviation of the log weight from coil to coil
LATTICE = 9  # places along an axis of the ball that the amount is the range over


@dataclass(frozen=True)
class Coils:
    """log sensitivity = amount (f - mean f) / range f over the ball in the brain box, f = log sqrt(sum_c w_c^2 s_c^2).

    s_c is the field on the axis of a loop (Biot and Savart), (a_c^2 / (a_c^2 + |r - r_c|^2))^(3/2), and the root of the
    summed squares how coils are combined (Roemer et al. 1990). place: (C, 3) r_c; radius: (C,) a_c; weight: (C,).
    amount: logarithm of the brightest over the darkest; 0 for no shading.
    """

    place: Tensor
    radius: Tensor
    weight: Tensor
    amount: float

    @classmethod
    def draw(cls, largest: float, generator: Generator) -> Coils:
        """largest: amount, at most."""
        count = int(torch.randint(FEWEST, MOST + 1, (), generator=generator))
        direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
        far, size, amount = (torch.rand(n, generator=generator) for n in (count, count, 1))
        return cls(
            direction * (NEAR + (FAR - NEAR) * far)[:, None],
            SMALL + (LARGE - SMALL) * size,
            (UNEVEN * torch.randn(count, generator=generator)).exp(),
            largest * float(amount),
        )

    def log_over(self, box: Box) -> Tensor:
        """(S, H, W)"""
        line = torch.linspace(-1, 1, LATTICE)
        lattice = self._combined((line, line, line))
        inside = lattice[sum(axis.square() for axis in torch.meshgrid(line, line, line, indexing="ij")) <= 1]
        spread = (inside.max() - inside.min()).clamp(min=1e-6)
        return self.amount * (self._combined(box) - inside.mean()) / spread

    def _combined(self, box: Box) -> Tensor:
        """f over a box, coil after coil: (C, S, H, W) at once is more memory than it saves time."""
        total = torch.zeros(tuple(len(axis) for axis in box))
        for place, radius, weight in zip(self.place, self.radius, self.weight, strict=True):
            s, h, w = ((axis - at).square() for axis, at in zip(box, place, strict=True))
            total += (weight * (radius**2 / (radius**2 + s[:, None, None] + h[:, None] + w)) ** 1.5).square()
        return total.log() / 2
