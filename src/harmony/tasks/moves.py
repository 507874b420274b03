"""Where training slices lie: mirrored, and moved in their frame."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from harmony.core.batch import Batch, each


def moved(batch: Batch, *, mirror: bool, shift: int, draw: Generator) -> Batch:
    """The batch, mirrored along the rows half the time, and moved by up to `shift` pixels along rows and columns.

    Rows run from left to right in axial and coronal slices. What leaves on one side comes back on the other: `shift`
    must not be larger than the border around the brain.
    """
    turned = mirror and bool(torch.rand((), generator=draw) < 0.5)
    rows, columns = torch.randint(-shift, shift + 1, (2,), generator=draw).tolist()

    def move(x: Tensor) -> Tensor:
        return (x.flip(2) if turned else x).roll((rows, columns), (2, 3))

    return each(batch, lambda values: move(values) if values.dim() == 4 else values)
