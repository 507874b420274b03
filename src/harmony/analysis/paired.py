"""A method against another on the same subjects: what it won, whom it harmed, which share of a loss it made good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harmony.analysis.intervals import Interval, mean_interval, ratio
from harmony.core.margins import harmed
from harmony.core.vocabulary import describe, direction


class Against(NamedTuple):
    """One method against another, over the subjects that have both.

    difference: mean of (value - baseline). harmed: how many subjects it made worse by what matters.
    p: two-sided Wilcoxon signed-rank test, zero differences left out (Wilcoxon 1945); 1 where all are zero.
    """

    difference: Interval
    harmed: int
    p: float

    @property
    def worse(self) -> float:
        """The share of subjects that were harmed."""
        return self.harmed / self.difference.subjects


def against(metric: str, values: Mapping[str, float], baseline: Mapping[str, float]) -> Against | None:
    """values, baseline: by subject; NaN is no value. harmed: see `core.margins.harmed`.

    None for a metric that is neither better nor worse, or without a common subject.
    """
    both = [(value, baseline[subject]) for subject, value in values.items() if subject in baseline]
    pairs = [pair for pair in both if np.isfinite(pair).all()]
    if not pairs or direction(metric) == 0:
        return None
    from scipy.stats import wilcoxon

    differences = np.array([value - base for value, base in pairs])
    moved = differences[differences != 0]
    p = float(wilcoxon(moved).pvalue) if len(moved) else 1.0
    count = sum(harmed(metric, value, base) for value, base in pairs)
    return Against(mean_interval(differences.tolist(), cross_validated=describe(metric).cross_validated), count, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of Holm's step-down procedure (1979): the family-wise error rate, whatever the dependence.

    p~_(k) = max_{j <= k} min(1, (m - j + 1) p_(j)) for the m ordered p-values.
    """
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, k in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[k]))
        adjusted[k] = largest
    return adjusted


def recovered(
    method: Mapping[str, float], none: Mapping[str, float], reference: Mapping[str, float], *, least: float = 0.01
) -> Interval | None:
    """(mean method - mean none) / (mean reference - mean none) over common subjects: the share of a loss made good.

    1: all of it; below 0: it got worse. With Fieller's interval (`intervals.ratio`). None where the shift cost less
    than `least`: there is nothing to recover.
    """
    common = [subject for subject in method if subject in none and subject in reference]
    table = np.array([[method[s] - none[s], reference[s] - none[s]] for s in common]).reshape(-1, 2)
    table = table[np.isfinite(table).all(1)]
    if len(table) == 0 or table[:, 1].mean() < least:
        return None
    return ratio(*table.T)
