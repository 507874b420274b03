"""From one value per subject to a mean that says how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import isfinite, nan, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

LEAST = 3  # subjects: of fewer, the spread is hardly known, and an interval says more than they do
LEVEL = 0.95


class Interval(NamedTuple):
    """A mean (or a ratio of means) over `subjects`, with its 95 % interval.

    low and high are NaN where no interval keeps its word: for fewer than 3 subjects, and for a ratio whose denominator
    may be 0.
    """

    mean: float
    low: float
    high: float
    subjects: int

    @property
    def known(self) -> bool:
        return isfinite(self.low) and isfinite(self.high)

    def listed(self) -> list[float | None]:
        """[mean, low, high] for JSON, which has no NaN."""
        return [self.mean, *(self[1:3] if self.known else (None, None))]

    def span(self, digits: int, *, between: str = ", ", sign: str = "") -> str:
        """`20.1, 23.4`, or `too few` subjects to say."""
        return between.join(f"{end:{sign}.{digits}f}" for end in self[1:3]) if self.known else "too few"


def mean_interval(values: Sequence[float], *, cross_validated: bool = False) -> Interval:
    """Mean and 95 % Student interval over subjects; NaN values (not counted) are left out.

        mean +- t_{n-1} s sqrt(1 / n)                    s^2: the variance of the n values, over n - 1

    cross_validated: each value is of a classifier that was fitted to the other subjects, so the values share what they
    were fitted to, and their mean varies more than s / sqrt(n): 1 / n + 1 / (n - 1) in place of 1 / n (Nadeau & Bengio,
    Machine Learning 52, 2003, the corrected resampled t).

    How often it covers the truth, and what else was tried: docs/statistics.md.
    """
    kept = np.asarray([value for value in values if not np.isnan(value)], dtype=float)
    n = len(kept)
    if n < LEAST:
        return Interval(float(kept.mean()) if n else nan, nan, nan, n)
    mean = float(kept.mean())
    share = 1 / n + (1 / (n - 1) if cross_validated else 0)
    half = _quantile(n) * float(kept.std(ddof=1)) * sqrt(share)
    return Interval(mean, mean - half, mean + half, n)


def ratio(gained: Sequence[float], lost: Sequence[float]) -> Interval:
    """mean(gained) / mean(lost) of the same subjects, with Fieller's 95 % interval (1954).

    All r for which the mean of gained - r lost is within Student's t of 0, the roots of

        (L^2 - q v_L) r^2 - 2 (G L - q c) r + G^2 - q v_G = 0,      q = t_{n-1}^2 / n

    G, L: means; v_G, v_L, c: variances and covariance, over n - 1. Unlike the delta method it is exact for normal
    values. Not bounded, so NaN, where L itself may be 0 (L^2 <= q v_L), and for fewer than 3 subjects.
    """
    table = np.array([gained, lost], dtype=float)
    n, (top, bottom) = table.shape[1], table.mean(1)
    share = float(top / bottom) if bottom else nan
    if n < LEAST:
        return Interval(share, nan, nan, n)
    covariance, q = np.cov(table), _quantile(n) ** 2 / n
    a, b = bottom**2 - q * covariance[1, 1], top * bottom - q * covariance[0, 1]
    c = top**2 - q * covariance[0, 0]
    if a <= 0:
        return Interval(share, nan, nan, n)
    half = sqrt(max(b**2 - a * c, 0.0))  # not negative but for rounding: the share itself is between the roots
    return Interval(share, float((b - half) / a), float((b + half) / a), n)


@cache
def _quantile(n: int) -> float:
    return float(stdtrit(n - 1, (1 + LEVEL) / 2))
