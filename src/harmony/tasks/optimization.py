"""How the tasks' optimizers are built, and how their learning rates change from step to step."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

BuildOptimizer = Callable[[Iterable[Parameter]], Optimizer]


def stepwise(schedule: LRScheduler) -> OptimizerLRSchedulerConfig:
    """The optimizer of a schedule, whose rate changes after every step."""
    return {"optimizer": schedule.optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def falling(optimizer: Optimizer, max_steps: int) -> OptimizerLRSchedulerConfig:
    """The rate falls to 0 along a cosine over `max_steps`."""
    return stepwise(CosineAnnealingLR(optimizer, T_max=max_steps))


def halving(optimizer: Optimizer, every: int) -> OptimizerLRSchedulerConfig:
    """The rate is halved every so many steps."""
    return stepwise(StepLR(optimizer, every, gamma=0.5))
