"""The convolutions that a step needs, and nothing else: what a network cannot be faster than.

A step is watched once. Every convolution that it runs is noted - forward, run again in the backward pass, and backward,
with the gradients that were asked for - and then the same calls are made again on random numbers of the same sizes in
the same memory layout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

KINDS = ("convolution", "convolution_backward")


def convolutions_of(step: Callable[[], object]) -> Callable[[], object]:
    """Runs the step once; what is returned runs its convolutions alone."""
    with _Watch() as watch:
        step()
    calls = watch.calls
    return torch.no_grad()(lambda: [function(*args) for function, args in calls])


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, list[Any]]] = []
        self.made: dict[tuple[Any, ...], Tensor] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__ in KINDS:
            self.calls.append((function, [self._like(a) if isinstance(a, Tensor) else a for a in args]))
        return function(*args, **(kwargs or {}))

    def _like(self, x: Tensor) -> Tensor:
        """Random numbers in its place: one tensor for all of the same kind, to hold no more memory than needed."""
        kind = (x.shape, x.stride(), x.dtype)
        if kind not in self.made:
            with torch.no_grad():
                self.made[kind] = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device).normal_()
        return self.made[kind]
