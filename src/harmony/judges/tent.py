"""TENT (Wang et al. 2021): the segmenter adapts to the scanner, and the image stays as it is."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer

from harmony.core import Stack, interrupts
from harmony.judges.contracts import AdaptiveJudge, Truth
from harmony.judges.segmentation import Segmentation
from harmony.metrics import prediction_entropy

log = logging.getLogger(__name__)
NORMS = (nn.BatchNorm2d, nn.InstanceNorm2d)


class Tent(AdaptiveJudge):
    """Minimises the entropy of the predictions over the scale and shift of the normalisation layers.

    The layers use the statistics of the batch, not those of the reference domain. segmenter: copied, never changed.
    passes: over the query images. batch: slices per step, and that are segmented together. seed: of their order.
    """

    metric = Segmentation.metric
    baseline = Segmentation.baseline

    def __init__(
        self,
        *,
        segmenter: nn.Module,
        structures: Mapping[str, int],
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
        passes: int,
        batch: int,
        seed: int,
    ) -> None:
        self.source, self.optimizer = segmenter, optimizer
        self.structures, self.passes, self.batch, self.seed = structures, passes, batch, seed
        self.reset()

    def score(self, stack: Stack, truth: Truth) -> dict[str, float]:
        return self.judge.score(stack, truth)

    def trivial(self, stack: Stack, truth: Truth) -> float | None:
        return self.judge.trivial(stack, truth)

    def reset(self) -> None:
        network = copy.deepcopy(self.source).requires_grad_(False)
        self.norms = [module for module in network.modules() if isinstance(module, NORMS)]
        if not self.norms:
            raise ValueError("TENT needs a segmenter with normalisation layers")
        for norm in self.norms:  # without running statistics a layer uses those of the batch, in eval mode too
            norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
        self.judge = Segmentation(segmenter=network, structures=self.structures, batch=self.batch)

    def adapt(self, stacks: Sequence[Stack]) -> None:
        image = torch.cat([stack.image[stack.with_brain] for stack in stacks])
        moving = [parameter for norm in self.norms for parameter in norm.parameters()]
        log.info("tent moves the %d scales and shifts of %d layers", sum(map(torch.numel, moving)), len(self.norms))
        for parameter in moving:
            parameter.requires_grad_(True)
        optimizer = self.optimizer(moving)
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.passes):
            order = torch.randperm(len(image), generator=generator)
            for part in order.chunk(-(-len(image) // self.batch)):
                with torch.enable_grad():
                    loss = prediction_entropy(self.judge.segmenter(image[part]), image[part]).mean()
                    optimizer.zero_grad()
                    loss.backward()
                optimizer.step()
                interrupts.check()
