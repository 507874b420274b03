"""Processes that train together (DDP): what they compute is what one process would.

Each holds every `world`-th row of a batch, beginning with its rank.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.distributed import _functional_collectives as collectives


def in_group() -> bool:
    """Whether this process trains together with others."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def rank() -> int:
    """This process's number in its group; 0 alone."""
    return distributed.get_rank() if in_group() else 0


def share() -> slice:
    """Which rows of a whole batch are this process's."""
    return slice(rank(), None, distributed.get_world_size()) if in_group() else slice(None)


def rows_of_batch(rows: int) -> tuple[int, slice]:
    """For a batch of which this process holds `rows`: how many rows all hold, and which of them are this process's."""
    return rows * (distributed.get_world_size() if in_group() else 1), share()


def total(x: Tensor) -> Tensor:
    """The sum of x over all processes, with its gradient: every process's sum depends on every x."""
    # `torch.distributed.nn.functional.all_reduce` is deprecated in favour of this one, and fails under torch.compile.
    everybody = distributed.group.WORLD
    assert everybody is not None
    return collectives.wait_tensor(collectives.all_reduce(x, "sum", everybody))


def greatest(number: int, device: torch.device) -> int:
    """The largest of the processes' numbers."""
    if not in_group():
        return number
    everywhere = torch.tensor(number, device=device)
    distributed.all_reduce(everywhere, distributed.ReduceOp.MAX)
    return int(everywhere)


def global_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """(C, N) of this process -> mean (C,) and unbiased deviation (C,) over the values of all processes."""
    if not in_group():
        return values.mean(1), values.std(1)
    count = total(values.new_tensor(values.shape[1]))
    mean = total(values.sum(1)) / count
    return mean, (total((values - mean[:, None]).square().sum(1)) / (count - 1)).sqrt()


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
