"""How likely a whole stack is under a flow."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony.core.machine import device
from harmony.core.progress import within
from harmony.flows.density import ImageDensity

BATCH = 16  # slices that the flow scores together


@torch.no_grad()
def mean_bits_per_dim(density: ImageDensity, image: Tensor) -> float:
    """(S, 1, H, W) on any device -> mean over the slices."""
    found = []
    with within("bits per dimension", len(image)) as told:
        for part in image.split(BATCH):
            found.append(density.bits_per_dim(part.to(device())))
            told(len(part))
    return float(torch.cat(found).mean())
