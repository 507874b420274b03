"""Methods one after the other: each takes what the one before it made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from harmony.core import Harmonized, Report, Stack, Steps
from harmony.core.intensity_curve import IntensityCurve
from harmony.methods.base import Method
from harmony.methods.harmonizing_flows import Adaptation, AdaptiveMethod


def chain(*, steps: Mapping[str, Method]) -> Method:
    """The methods in order, as one; it is adaptive where one of them is. Raises ValueError for two adaptive ones."""
    adaptive = [name for name, method in steps.items() if isinstance(method, AdaptiveMethod)]
    if len(adaptive) > 1:
        raise ValueError(f"a chain adapts one of its methods, not {len(adaptive)}: {', '.join(steps)}")
    return AdaptiveChain(steps, adapted=adaptive[0]) if adaptive else Chain(steps)


class Chain(Method):
    """h_n(... h_2(h_1(x))). The traces follow each other; with no method at all, the query itself.

    With h_k(y) = g_k y + r_k, g_k the smooth factor of step k, the whole is g x + r with g = g_n ... g_1: the product
    over the steps that have one (a step without has g_k = 1: all of its change is r_k), None where no step has. Of
    several steps the reports are `Steps`, and there is no one curve; a single step hands on its own.
    """

    def __init__(self, steps: Mapping[str, Method]) -> None:
        self.steps = dict(steps)

    def harmonize(self, stack: Stack) -> Harmonized:
        trace: dict[str, Tensor] = {}
        gain: Tensor | None = None
        curve: IntensityCurve | None = None
        reports: dict[str, Report | None] = {}
        for name, method in self.steps.items():
            result = method.harmonize(stack)
            stack = replace(stack, image=result.image)
            trace |= {key: torch.cat([trace[key], t]) if key in trace else t for key, t in result.trace.items()}
            gain = _product(gain, result.gain)
            curve = result.curve if len(self.steps) == 1 else None
            reports[name] = result.report
        return Harmonized(stack.image, trace, gain, curve, _whole(reports))


class AdaptiveChain(AdaptiveMethod):
    """A chain with one adaptive method, which is adapted to what the methods before it make of the query scans.

    adapted: its name in `steps`.
    """

    def __init__(self, steps: Mapping[str, Method], *, adapted: str) -> None:
        adaptive, names = steps[adapted], list(steps)
        if not isinstance(adaptive, AdaptiveMethod):
            raise TypeError(f"step {adapted} of the chain does not adapt")
        before = {name: steps[name] for name in names[: names.index(adapted)]}
        self.whole, self.before, self.adaptive = Chain(steps), Chain(before), adaptive

    def harmonize(self, stack: Stack) -> Harmonized:
        return self.whole.harmonize(stack)

    def adapt(self, stacks: Sequence[Stack], watch: Callable[[int], None] | None = None) -> Adaptation:
        prepared = [replace(stack, image=self.before.harmonize(stack).image) for stack in stacks]
        return self.adaptive.adapt(prepared, watch)

    def reset(self) -> None:
        self.adaptive.reset()


def _product(gain: Tensor | None, more: Tensor | None) -> Tensor | None:
    return more if gain is None else gain if more is None else gain * more


def _whole(reports: Mapping[str, Report | None]) -> Report | None:
    if not any(reports.values()):
        return None
    return next(iter(reports.values())) if len(reports) == 1 else Steps(reports)
