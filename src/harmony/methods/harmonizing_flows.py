"""Harmonizing Flows (Beizaee et al., arXiv 2301.11551, 2407.15717): adapt until a flow finds the output likely."""

from __future__ import annotations

import copy
import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from harmony.core import Harmonized, Stack, interrupts
from harmony.core.progress import within
from harmony.core.reference import Reference
from harmony.core.volume import middle_slices
from harmony.methods.base import Method
from harmony.methods.jacobian import curve_log_jacobian
from harmony.methods.stopping import Evidence, StoppingRule
from harmony.methods.units import adam_in_units
from harmony.metrics import prediction_entropy
from harmony.networks import Harmonizer

if TYPE_CHECKING:
    from harmony.flows import ImageDensity

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adaptation:
    """What an adaptation saw and why it stopped. `kept` is the pass in use; `outcome` after the do-no-harm rule."""

    trajectory: list[Evidence]
    kept: int
    reason: str
    outcome: Literal["adapted", "unadapted", "input"]


@dataclass(frozen=True)
class Slices:
    """What the harmonizer sees, (B, 1, H, W) each: the query, its mask, and the image that alpha and beta act on."""

    image: Tensor
    mask: Tensor
    base: Tensor

    @classmethod
    def of(cls, parts: Sequence[Slices]) -> Slices:
        """One after the other."""
        return cls(*(torch.cat([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    def __getitem__(self, index: Tensor) -> Slices:
        return Slices(self.image[index], self.mask[index], self.base[index])


class AdaptiveMethod(Method):
    """A method that may look at unlabelled query images before it harmonizes."""

    @abstractmethod
    def adapt(self, stacks: Sequence[Stack], watch: Callable[[int], None] | None = None) -> Adaptation:
        """Adapt to these stacks; `watch(k)` is called after pass k (0: before the first), with its weights in place."""

    @abstractmethod
    def reset(self) -> None:
        """Back to the state before any adaptation."""


class HarmonizingFlows(AdaptiveMethod):
    """x_h = clip(alpha(x) x + beta(x)) inside the brain, with the harmonizer's weights adapted to the query images.

    With a harmonizer that reads a context (ours) the map acts on m, x with its volume's histogram matched to the
    reference: x_h = clip(alpha(m, x) m + beta(m, x)).

    The loss of a batch is mean bpd(x_h) - jacobian * J, J the log-Jacobian of the intensity curve (0: as published).
    Its bpd is of continuous grey levels with noise drawn afresh for every step and slice (`relaxed_bits_per_dim`); the
    evidence is of the rounded image, as in every score.

    harmonizer: trained on corrupted reference images; copied, so that `reset` can put it back.
    density: the reference flow; frozen, in eval mode, never changed. reference_bpd: of held-out reference images.
    trainable: "all" weights of the harmonizer, or its two "heads"; None: no adaptation at all.
    units: what a step of the optimizer means. "grey_levels": a step on the weights of the same network for images in
        0..255, the authors' (`adam_in_units`); "unit_interval": on the weights as they are, for images in 0..1.
    count, step: of the slices that are adapted to, the middle ones that flow and harmonizer were trained on
        (`Volume.select`), so that their likelihood is to be held against `reference_bpd`. `harmonize` does all slices.
    batch: slices per step. stop: when to stop, and which pass to keep.
    judge: a segmenter, (B, 1, H, W) -> logits, whose entropy on the outputs is part of the evidence.
    guard: do no harm - use the un-adapted harmonizer, or the input itself, where their evidence bpd - J is better.
    """

    def __init__(
        self,
        *,
        density: ImageDensity,
        reference: Reference,
        reference_bpd: float,
        harmonizer: Harmonizer,
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
        units: Literal["grey_levels", "unit_interval"],
        trainable: Literal["all", "heads"] | None,
        stop: StoppingRule,
        jacobian: float,
        guard: bool,
        count: int | None,
        step: int,
        batch: int,
        seed: int,
        judge: nn.Module | None = None,
    ) -> None:
        if stop.needs_judge and judge is None and trainable is not None:
            raise ValueError("this stopping rule reads a judge's entropy: give the method a judge")
        self.density = density.eval().requires_grad_(False)
        self.reference, self.reference_bpd = reference, reference_bpd
        self.harmonizer = copy.deepcopy(harmonizer).eval()
        self.initial = copy.deepcopy(self.harmonizer.state_dict())
        self.optimizer, self.units, self.trainable, self.stop = optimizer, units, trainable, stop
        self.jacobian, self.guard, self.batch, self.seed, self.judge = jacobian, guard, batch, seed, judge
        self.count, self.step = count, step
        self.identity = False

    @torch.no_grad()
    def harmonize(self, stack: Stack) -> Harmonized:
        slices = self._slices(stack)
        return Harmonized(torch.cat([self._output(slices[part]) for part in self._parts(slices)]))

    def reset(self) -> None:
        self.harmonizer.load_state_dict(self.initial)
        self.identity = False

    def adapt(self, stacks: Sequence[Stack], watch: Callable[[int], None] | None = None) -> Adaptation:
        slices = Slices.of([self._slices(stack)[middle_slices(len(stack), self.count, self.step)] for stack in stacks])
        if self.trainable is None:
            return Adaptation([self._evidence(slices)], 0, "not adapted", "unadapted")
        optimizer = self._optimizer()
        generator = torch.Generator().manual_seed(self.seed)
        trajectory, states = [self._evidence(slices)], [self._state()]
        if watch:
            watch(0)
        while not (verdict := self.stop.decide(trajectory, self.reference_bpd)).stop:
            order = torch.randperm(len(slices.image), generator=generator).to(slices.image.device)
            with within(f"pass {len(trajectory)}", len(order)) as told:
                for part in order.split(self.batch):
                    self._step(optimizer, slices[part], generator)
                    told(len(part))
                    interrupts.check()
            trajectory.append(self._evidence(slices))
            states.append(self._state())
            if watch:
                watch(len(trajectory) - 1)
        self.harmonizer.load_state_dict(states[verdict.keep])
        outcome = self._do_no_harm(trajectory[0], trajectory[verdict.keep], slices)
        log.info("adaptation: %s -> %s", verdict.reason, outcome)
        return Adaptation(trajectory, verdict.keep, verdict.reason, outcome)

    def _optimizer(self) -> Optimizer:
        parameters = self._moving()
        if self.units == "unit_interval":
            return self.optimizer(parameters)
        units = self.harmonizer.grey_level_units()
        return adam_in_units(self.optimizer, {parameter: units[parameter] for parameter in parameters})

    def _moving(self) -> list[Parameter]:
        """The parameters that adaptation will move; it says which."""
        chosen = self.harmonizer.heads() if self.trainable == "heads" else list(self.harmonizer.parameters())
        self.harmonizer.requires_grad_(False)
        for parameter in chosen:
            parameter.requires_grad_(True)
        names = [name for name, parameter in self.harmonizer.named_parameters() if parameter.requires_grad]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        log.info("adaptation moves %d parameters of the harmonizer: %s", sum(p.numel() for p in chosen), shown)
        return chosen

    def _slices(self, stack: Stack) -> Slices:
        base = self.reference.match(stack) if self.harmonizer.context else stack.image
        return Slices(stack.image, stack.mask, base)

    def _parts(self, slices: Slices) -> tuple[Tensor, ...]:
        return torch.arange(len(slices.image), device=slices.image.device).split(self.batch)

    def _step(self, optimizer: Optimizer, slices: Slices, generator: torch.Generator) -> None:
        with torch.enable_grad():
            output = self._output(slices)
            loss = self.density.relaxed_bits_per_dim(output, generator).mean()
            if self.jacobian:
                loss = loss - self.jacobian * curve_log_jacobian(slices.image, output, slices.mask)
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()

    def _output(self, slices: Slices) -> Tensor:
        """The one path: what is optimised, scored and written."""
        if self.identity:
            return slices.image
        curve = self.harmonizer(slices.base, slices.image if self.harmonizer.context else None)
        return torch.where(slices.mask, curve.apply(slices.base).clamp(0, 1), 0)

    @torch.no_grad()
    def _evidence(self, slices: Slices, *, untouched: bool = False) -> Evidence:
        image, mask, parts = slices.image, slices.mask, self._parts(slices)
        output = image if untouched else torch.cat([self._output(slices[part]) for part in parts])
        bpd = torch.cat([self.density.bits_per_dim(output[part]) for part in parts]).mean()
        entropy = math.nan if self.judge is None else self._entropy(self.judge, output)
        change = 255 * (output - image)[mask].abs().mean()
        return Evidence(float(bpd), float(curve_log_jacobian(image, output, mask)), entropy, float(change))

    def _entropy(self, judge: nn.Module, output: Tensor) -> float:
        parts = output.split(self.batch)
        return float(torch.cat([prediction_entropy(judge(part), part) for part in parts]).mean())

    def _do_no_harm(
        self, before: Evidence, after: Evidence, slices: Slices
    ) -> Literal["adapted", "unadapted", "input"]:
        """Keep the adapted harmonizer only where the evidence, bpd - J, says that it helped."""
        if not self.guard:
            return "adapted"
        untouched = self._evidence(slices, untouched=True)
        costs = {"adapted": after, "unadapted": before, "input": untouched}
        best = min(costs, key=lambda name: costs[name].bpd - costs[name].log_jacobian)
        if best == "unadapted":
            self.harmonizer.load_state_dict(self.initial)
        self.identity = best == "input"
        return best  # type: ignore[return-value]

    def _state(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.harmonizer.state_dict().items()}
