"""A network that was trained to translate one query scanner: the U-Net (pairs) and the CycleGAN (unpaired)."""

from __future__ import annotations

import torch

from harmony.core import Harmonized, Stack
from harmony.methods.base import Method
from harmony.networks import Translator


class Translation(Method):
    """x_h = G(x), G a network of the query scanner it was trained on; on any other scanner it promises nothing.

    batch: slices at a time; it bounds the memory and does not change the result.
    """

    def __init__(self, *, network: Translator, batch: int) -> None:
        self.network, self.batch = network.eval(), batch

    @torch.no_grad()
    def harmonize(self, stack: Stack) -> Harmonized:
        parts = torch.arange(len(stack)).split(self.batch)
        return Harmonized(torch.cat([self.network(stack.image[part], stack.mask[part]) for part in parts]))
