"""Is a quantity still related to age or sex as it was? Slopes within sites."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from harmony.analysis.intervals import LEVEL, Interval

LEAST = 10  # people: of fewer, a slope says nothing of age


class Relation(NamedTuple):
    """The slope of a quantity by a trait of people before harmonizing, after it, and of the change; 95 % intervals."""

    before: Interval
    after: Interval
    change: Interval

    @property
    def known(self) -> bool:
        """Whether there is a relation before, which could be lost."""
        return self.before.known and not self.before.low <= 0 <= self.before.high

    @property
    def kept(self) -> bool:
        """Whether the slope after is told from 0, on the side that it was on."""
        return self.after.known and min(self.after.low * self.before.mean, self.after.high * self.before.mean) > 0


def relation(trait: Sequence[float], before: Sequence[float], after: Sequence[float], site: Sequence[str]) -> Relation:
    """Of the same people, a value each; `site`: where each was."""
    change = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    return Relation(
        slope_within(trait, before, site), slope_within(trait, after, site), slope_within(trait, change, site)
    )


def slope_within(x: Sequence[float], y: Sequence[float], site: Sequence[str]) -> Interval:
    """The common slope of y by x within sites, y_i = a_site + b x_i + e_i: what sites differ by is no slope.

        b = sum x' y' / sum x'^2 +- t s / sqrt(sum x'^2),      s^2 = sum (y' - b x')^2 / (n - sites - 1)

    x', y': less the site's mean. Not known (NaN) for fewer than 10 people, or where nobody differs within a site.
    """
    sites = np.asarray(site)
    within = np.array([x, y], dtype=float)
    for name in set(site):
        within[:, sites == name] -= within[:, sites == name].mean(1, keepdims=True)
    n, free, squares = len(sites), len(sites) - len(set(site)) - 1, float((within[0] ** 2).sum())
    if n < LEAST or free < 1 or squares < 1e-12:
        return Interval(nan, nan, nan, n)
    slope = float((within[0] * within[1]).sum() / squares)
    error = sqrt(float(((within[1] - slope * within[0]) ** 2).sum()) / free / squares)
    half = float(stdtrit(free, (1 + LEVEL) / 2)) * error
    return Interval(slope, slope - half, slope + half, n)
