"""What an adaptation makes: outputs of a harmonizer that walks down the bits of the flow that is being trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from harmony.flows import ImageDensity
from harmony.networks import Harmonizer


class AdaptationWalk:
    """A new harmonizer, which changes nothing yet, adapted by a few steps of mean bpd of its clamped, masked output.

    The direction in which an adaptation leaves the truth is in no corruption: the flow itself points there. The walk
    begins anew each time, from the generator alone, so that a resumed training walks alike.

    network: builds the harmonizer. optimizer: builds an optimizer from parameters and `lr`. rate: least and largest,
    drawn evenly on a logarithmic scale. steps: at most; 1, 2, ... or `steps` are drawn. share: of training steps that
    show its outputs.
    """

    def __init__(
        self,
        *,
        network: Callable[[], Harmonizer],
        optimizer: Callable[..., Optimizer],
        rate: tuple[float, float],
        steps: int,
        share: float,
    ) -> None:
        self.network, self.optimizer = network, optimizer
        self.rate, self.steps, self.share = rate, steps, share

    def outputs(self, density: ImageDensity, image: Tensor, mask: Tensor, draw: torch.Generator) -> Tensor:
        """(B, 1, H, W) -> as many, without a gradient. The flow is left as it was."""
        harmonizer = self._begin(draw).to(image.device)
        rate = math.exp(float(torch.empty(()).uniform_(*map(math.log, self.rate), generator=draw)))
        optimizer = self.optimizer(harmonizer.parameters(), lr=rate)
        count = int(torch.randint(1, self.steps + 1, (), generator=draw))
        trained = density.training
        density.eval()  # no norm of the conditioner learns from what is seen on the way
        with torch.enable_grad():
            for _ in range(count):
                bits = density.relaxed_bits_per_dim(_output(harmonizer, image, mask), draw).mean()
                _step(optimizer, harmonizer.parameters(), bits)
        density.train(trained)
        with torch.no_grad():
            return _output(harmonizer, image, mask)

    def _begin(self, draw: torch.Generator) -> Harmonizer:
        """A harmonizer whose weights come from the generator, whatever else was drawn in this process."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=draw)))
            return self.network()


def _step(optimizer: Optimizer, parameters: Iterable[Parameter], loss: Tensor) -> None:
    """A step of these parameters alone: the flow's own gradients are neither computed nor touched."""
    moving = list(parameters)
    for parameter, gradient in zip(moving, torch.autograd.grad(loss, moving), strict=True):
        parameter.grad = gradient
    optimizer.step()


def _output(harmonizer: Harmonizer, image: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, harmonizer(image).apply(image).clamp(0, 1), 0)
