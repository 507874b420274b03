"""Batch statistics over all processes that train together (DDP): what a network computes is what one process would."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn


def in_group() -> bool:
    """Whether this process trains together with others."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


class _Total(torch.autograd.Function):
    """y = sum over the processes of x; every process's y depends on every x, so dx = sum over the processes of dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clone()
        distributed.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        dx = gradients[0].clone()
        distributed.all_reduce(dx)
        return dx


def total(x: Tensor) -> Tensor:
    """The sum of x over all processes, with its gradient."""
    return _Total.apply(x)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d with the mean and variance of the whole batch of all processes, gradients included.

    torch's SyncBatchNorm does the same on a GPU and refuses a CPU. In evaluation, or alone, plain BatchNorm2d.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and in_group()):
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        values = x.float()
        count = total(values.new_tensor(x.numel() // x.shape[1]))
        mean = total(values.sum((0, 2, 3))) / count
        centred = values - mean.view(1, -1, 1, 1)
        variance = total(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype)


def share_batch_statistics(module: nn.Module) -> None:
    """Turn every BatchNorm2d inside into its global kind, in place: the same parameters under the same names."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            shared = GlobalBatchNorm2d(child.num_features, eps=child.eps, momentum=child.momentum)
            shared.load_state_dict(child.state_dict())
            setattr(module, name, shared)
        else:
            share_batch_statistics(child)


def global_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """(C, N) of this process -> mean (C,) and unbiased deviation (C,) over the values of all processes."""
    if not in_group():
        return values.mean(1), values.std(1)
    count = total(values.new_tensor(values.shape[1]))
    mean = total(values.sum(1)) / count
    return mean, (total((values - mean[:, None]).square().sum(1)) / (count - 1)).sqrt()


def rows_of_batch(rows: int) -> tuple[int, slice]:
    """For a batch of which this process holds `rows`: how many rows all hold, and which of them are this process's."""
    if not in_group():
        return rows, slice(None)
    world = distributed.get_world_size()
    return rows * world, slice(distributed.get_rank(), None, world)
