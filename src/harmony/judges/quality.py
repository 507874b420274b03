"""How good a judge is itself, before anything that it says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harmony.analysis import mean_interval
from harmony.core.margins import margin
from harmony.core.vocabulary import direction


@dataclass(frozen=True)
class Quality:
    """How a judge does on untouched reference scans, beside an answer without looking.

    able: it is better than that by what matters; the 95 % interval of the paired difference says so.
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
    name: str,
    metric: str,
    baseline: str,
    pairs: Mapping[str, Sequence[tuple[float, float]]],
    sign: int | None = None,
) -> Quality:
    """pairs: subject -> (judge, trivial answer) of each scan. sign: +1: larger is better; None: as for the metric."""
    sign = direction(metric) if sign is None else sign
    means = [np.mean(each, axis=0).tolist() for each in pairs.values()]  # a subject's scans count once
    value, trivial = np.mean(means, axis=0).tolist() if means else (math.nan, math.nan)
    return Quality(name, metric, len(means), value, trivial, baseline, able=able(metric, sign, means))


def able(metric: str, sign: int, pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether the judge is better than the trivial answer, by the metric's margin at the worse end of its interval.

    pairs: (judge, trivial answer) of each subject. Fewer than 3 have no interval, and can show nothing.
    """
    needed = margin(metric)
    gain = mean_interval([sign * (value - trivial) for value, trivial in pairs])
    return bool(gain.low > (needed.able if needed is not None and needed.able is not None else 0))
