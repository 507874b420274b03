"""From one value per subject to a mean, or a difference, that says how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import wilcoxon


class Interval(NamedTuple):
    """A mean over `subjects` and its 95 % bootstrap interval (mean = low = high for one subject)."""

    mean: float
    low: float
    high: float
    subjects: int


def bootstrap_mean(values: Sequence[float], *, draws: int = 2000, seed: int = 0) -> Interval:
    """Mean and percentile-bootstrap 95 % interval over subjects; NaN values (not counted) are left out."""
    kept = np.asarray([v for v in values if not np.isnan(v)], dtype=float)
    if len(kept) == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    picks = np.random.default_rng(seed).integers(0, len(kept), (draws, len(kept)))
    low, high = np.percentile(kept[picks].mean(1), [2.5, 97.5])
    return Interval(float(kept.mean()), float(low), float(high), len(kept))


class Paired(NamedTuple):
    """One method against another on the same subjects.

    difference: mean of value - baseline with its 95 % bootstrap interval, over the subjects that have both.
    p: two-sided Wilcoxon signed-rank test, zero differences left out (Wilcoxon 1945); 1 where all are zero.
    """

    difference: Interval
    p: float


def paired(values: Mapping[str, float], baseline: Mapping[str, float]) -> Paired:
    """values, baseline: subject -> value."""
    differences = np.array([value - baseline[name] for name, value in values.items() if name in baseline], dtype=float)
    moved = differences[np.isfinite(differences) & (differences != 0)]
    p = float(wilcoxon(moved).pvalue) if len(moved) else 1.0
    return Paired(bootstrap_mean(differences.tolist()), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of Holm's step-down procedure (1979): the family-wise error rate, whatever the dependence.

    p~_(k) = max_{j <= k} min(1, (m - j + 1) p_(j)) for the m ordered p-values.
    """
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, k in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[k]))
        adjusted[k] = largest
    return adjusted
