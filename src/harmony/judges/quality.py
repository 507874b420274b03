"""How good a judge is itself, before anything that it says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from harmony.analysis import bootstrap_mean
from harmony.core.vocabulary import direction


@dataclass(frozen=True)
class Quality:
    """How a judge does on untouched reference scans, beside an answer without looking.

    able: it is better than that; the 95 % interval of the paired difference says so.
    """

    judge: str
    metric: str
    subjects: int
    value: float
    trivial: float
    baseline: str
    able: bool

    def line(self) -> str:
        verdict = "" if self.able else " - it CANNOT do its task there, and its rows say nothing"
        asked = f"{self.metric} {self.value:.3f} (n={self.subjects})"
        return f"  {self.judge}: {asked}; {self.baseline}: {self.trivial:.3f}{verdict}"


def quality(
    name: str, metric: str, baseline: str, pairs: Sequence[tuple[float, float]], sign: int | None = None
) -> Quality:
    """pairs: (judge, trivial answer) of each subject. sign: +1 where larger is better; None: as for the metric."""
    sign = direction(metric) if sign is None else sign
    gain = bootstrap_mean([sign * (value - trivial) for value, trivial in pairs])
    value, trivial = (mean(column) for column in zip(*pairs, strict=True)) if pairs else (math.nan, math.nan)
    return Quality(name, metric, len(pairs), value, trivial, baseline, able=bool(gain.low > 0))
