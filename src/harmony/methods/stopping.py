"""When to stop a test-time adaptation, decided from what was seen so far and nothing else."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Evidence(NamedTuple):
    """After a pass over the query images (pass 0: before the first): all means over the adaptation images.

    bpd: bits per dimension of the outputs under the reference flow.
    log_jacobian: bits per dimension that the intensity map stretches (positive) or squeezes (negative), see `jacobian`.
    entropy: nats, of a judge's predictions on the outputs; NaN without a judge.
    change: mean |output - input| inside the brain, grey levels of 255.
    """

    bpd: float
    log_jacobian: float
    entropy: float
    change: float


class Verdict(NamedTuple):
    """stop: no further pass. keep: the pass whose weights are used. reason: in words, for the record."""

    stop: bool
    keep: int
    reason: str


class StoppingRule(ABC):
    """Looks at the trajectory [pass 0, pass 1, ...] after every pass; reference_bpd: of held-out reference images."""

    needs_judge = False

    @abstractmethod
    def decide(self, trajectory: Sequence[Evidence], reference_bpd: float) -> Verdict: ...


@dataclass(frozen=True, kw_only=True)
class Budget(StoppingRule):
    """A fixed number of passes; the last one is kept."""

    passes: int

    def decide(self, trajectory: Sequence[Evidence], reference_bpd: float) -> Verdict:
        last = len(trajectory) - 1
        return Verdict(last >= self.passes, last, f"budget of {self.passes} passes")


@dataclass(frozen=True, kw_only=True)
class LowestEntropy(StoppingRule):
    """Keeps the pass at which the judge was surest; stops `patience` passes after it, or at `passes`."""

    passes: int
    patience: int
    needs_judge = True

    def decide(self, trajectory: Sequence[Evidence], reference_bpd: float) -> Verdict:
        entropies = [evidence.entropy for evidence in trajectory]
        if any(math.isnan(value) for value in entropies):
            raise ValueError("the entropy rule needs a judge's predictions")
        keep, last = entropies.index(min(entropies)), len(trajectory) - 1
        stop = last - keep >= self.patience or last >= self.passes
        return Verdict(stop, keep, f"entropy lowest ({entropies[keep]:.4f}) after pass {keep}")


@dataclass(frozen=True, kw_only=True)
class ReferenceLevel(StoppingRule):
    """Stops when the outputs are as likely as held-out reference images: bpd <= reference_bpd; or at `passes`."""

    passes: int

    def decide(self, trajectory: Sequence[Evidence], reference_bpd: float) -> Verdict:
        last = len(trajectory) - 1
        reached = next((k for k, evidence in enumerate(trajectory) if evidence.bpd <= reference_bpd), None)
        if reached is not None:
            return Verdict(True, reached, f"bpd {trajectory[reached].bpd:.3f} <= reference {reference_bpd:.3f}")
        return Verdict(last >= self.passes, last, f"bpd {trajectory[last].bpd:.3f} above reference {reference_bpd:.3f}")


@dataclass(frozen=True, kw_only=True)
class Plateau(StoppingRule):
    """Stops when a pass gained less than `share` of all likelihood gained so far; or at `passes`.

    With gains g_k = bpd_{k-1} - bpd_k in log-likelihood ratio per dimension: stop at k if g_k < share * sum_{j<=k} g_j.
    A pass that lost likelihood is not kept.
    """

    passes: int
    share: float

    def decide(self, trajectory: Sequence[Evidence], reference_bpd: float) -> Verdict:
        last = len(trajectory) - 1
        if last == 0:
            return Verdict(self.passes == 0, 0, "no pass yet")
        total = trajectory[0].bpd - trajectory[last].bpd
        gain = trajectory[last - 1].bpd - trajectory[last].bpd
        reason = f"last pass gained {gain:.4f} of {total:.4f} bpd"
        if gain <= 0:
            return Verdict(True, last - 1, reason)
        return Verdict(gain < self.share * total or last >= self.passes, last, reason)
