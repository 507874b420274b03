"""Methods one after the other: each takes what the one before it made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from harmony.core import Harmonized, Stack
from harmony.methods.base import Method
from harmony.methods.harmonizing_flows import Adaptation, AdaptiveMethod


def chain(*, steps: Mapping[str, Method]) -> Method:
    """The methods in order, as one; it is adaptive where one of them is. Raises ValueError for two adaptive ones."""
    methods = list(steps.values())
    adaptive = [k for k, method in enumerate(methods) if isinstance(method, AdaptiveMethod)]
    if len(adaptive) > 1:
        raise ValueError(f"a chain adapts one of its methods, not {len(adaptive)}: {', '.join(steps)}")
    return AdaptiveChain(methods, adapted=adaptive[0]) if adaptive else Chain(methods)


class Chain(Method):
    """h_n(... h_2(h_1(x))). The traces follow each other; with no method at all, the query itself."""

    def __init__(self, methods: Sequence[Method]) -> None:
        self.methods = list(methods)

    def harmonize(self, stack: Stack) -> Harmonized:
        trace: dict[str, torch.Tensor] = {}
        for method in self.methods:
            made = method.harmonize(stack)
            stack = replace(stack, image=made.image)
            trace |= {name: torch.cat([trace[name], t]) if name in trace else t for name, t in made.trace.items()}
        return Harmonized(stack.image, trace)


class AdaptiveChain(AdaptiveMethod):
    """A chain with one adaptive method, which is adapted to what the methods before it make of the query scans.

    adapted: its index in `methods`.
    """

    def __init__(self, methods: Sequence[Method], *, adapted: int) -> None:
        adaptive = methods[adapted]
        if not isinstance(adaptive, AdaptiveMethod):
            raise TypeError(f"method {adapted} of the chain does not adapt")
        self.whole, self.before, self.adaptive = Chain(methods), Chain(methods[:adapted]), adaptive

    def harmonize(self, stack: Stack) -> Harmonized:
        return self.whole.harmonize(stack)

    def adapt(self, stacks: Sequence[Stack], watch: Callable[[int], None] | None = None) -> Adaptation:
        seen = [replace(stack, image=self.before.harmonize(stack).image) for stack in stacks]
        return self.adaptive.adapt(seen, watch)

    def reset(self) -> None:
        self.adaptive.reset()
