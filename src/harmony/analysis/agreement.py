"""Do scanners agree on the same people? Reliability of a quantity that every person has from every scanner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from harmony.analysis.intervals import LEAST, LEVEL, Interval, mean_interval

ByScanner = Mapping[str, Mapping[str, float]]  # scanner -> person -> value
RATIOS = {"volume_gm_wm": ("volume_gm_ml", "volume_wm_ml")}  # how much grey for how much white matter


class Squares(NamedTuple):
    """Mean squares of a two-way table without replicates: between people, between scanners, what is left."""

    people: float
    scanners: float
    rest: float


@dataclass(frozen=True)
class Agreement:
    """How far scanners agree on the people that all of them measured.

    icc: ICC(2,1) with its 95 % interval; 1: the scanners might be one. variation: coefficient of variation, and apart:
    absolute difference of two scanners, both within a person, in % of the person's mean, with intervals over people.
    between: share of the variance that is between scanners, 0..1.
    """

    icc: Interval
    variation: Interval
    apart: Interval
    between: float
    scanners: int

    def listed(self) -> dict[str, Any]:
        """For JSON, which has no NaN."""
        intervals = {"icc": self.icc, "variation": self.variation, "apart": self.apart}
        shares = {"between": self.between if isfinite(self.between) else None, "scanners": self.scanners}
        plain = {name: [end if isfinite(end) else None for end in value[:3]] for name, value in intervals.items()}
        return plain | shares | {"people": self.icc.subjects}


def agreement(values: ByScanner) -> Agreement | None:
    """Of the people whom every scanner measured; NaN is no measurement. None below two scanners or three people."""
    people = [name for name in next(iter(values.values()), {}) if all(_measured(own, name) for own in values.values())]
    if len(values) < 2 or len(people) < LEAST:
        return None
    table = np.array([[own[name] for own in values.values()] for name in people], dtype=float)
    middle = np.abs(table.mean(1))
    with np.errstate(divide="ignore", invalid="ignore"):
        variation = 100 * table.std(1, ddof=1) / middle
        pairs = [100 * np.abs(table[:, a] - table[:, b]) / middle for a, b in combinations(range(table.shape[1]), 2)]
    apart = np.mean(pairs, axis=0)
    return Agreement(icc(table), mean_interval(variation), mean_interval(apart), between(table), len(values))


def mean_squares(table: np.ndarray) -> Squares:
    """table: (n people, k scanners).

    people: k sum_i (x_i. - x..)^2 / (n - 1); scanners: n sum_j (x_.j - x..)^2 / (k - 1);
    rest: sum_ij (x_ij - x_i. - x_.j + x..)^2 / ((n - 1)(k - 1)).
    """
    n, k = table.shape
    by_person, by_scanner = table.mean(1, keepdims=True), table.mean(0, keepdims=True)
    rest = table - by_person - by_scanner + table.mean()
    return Squares(
        float(k * by_person.var(ddof=1)),
        float(n * by_scanner.var(ddof=1)),
        float((rest**2).sum() / ((n - 1) * (k - 1))),
    )


def icc(table: np.ndarray) -> Interval:
    """ICC(2,1): absolute agreement of single measurements, people and scanners both drawn at random.

        r = (P - E) / (P + (k - 1) E + k (S - E) / n)            P, S, E: `mean_squares` of people, scanners, rest

    (Shrout & Fleiss, Psychological Bulletin 86, 1979, equation 2). The 95 % interval is theirs, which is McGraw &
    Wong's of A,1 (Psychological Methods 1, 1996, table 7), with q = n (1 + (k - 1) r) - k r and

        v    = (n - 1)(k - 1) (k r S + q E)^2 / ((n - 1) k^2 r^2 S^2 + q^2 E^2)
        low  = n (P / F1 - E) / (k S + (k n - k - n) E + n P / F1)     F1: 97.5 % of F(n - 1, v)
        high = n (F2 P - E) / (k S + (k n - k - n) E + n F2 P)         F2: 97.5 % of F(v, n - 1)

    table: (n, k), n >= 3, k >= 2. NaN where all values are the same. Where scanners say the very same, it is 1 to 1.
    """
    n, k = table.shape
    people, scanners, rest = mean_squares(table)
    whole = people + (k - 1) * rest + k * (scanners - rest) / n
    if whole <= 0:
        return Interval(nan, nan, nan, n)
    r = (people - rest) / whole
    q = n * (1 + (k - 1) * r) - k * r
    below = (n - 1) * (k * r * scanners) ** 2 + (q * rest) ** 2
    if below == 0:
        return Interval(r, r, r, n)
    v = (n - 1) * (k - 1) * (k * r * scanners + q * rest) ** 2 / below
    first, second = (float(special.fdtri(*degrees, (1 + LEVEL) / 2)) for degrees in ((n - 1, v), (v, n - 1)))
    others = k * scanners + (k * n - k - n) * rest
    low = n * (people / first - rest) / (others + n * people / first)
    high = n * (second * people - rest) / (others + n * second * people)
    return Interval(r, min(low, r), max(high, r), n)  # of a handful of people and r < 0 they may both be below r


def between(table: np.ndarray) -> float:
    """s_S / (s_P + s_S + s_E): the share of the variance that is between scanners, 0..1; NaN where nothing varies.

    Components s_P = (P - E) / k, s_S = (S - E) / n and s_E = E, none below 0.
    """
    n, k = table.shape
    people, scanners, rest = mean_squares(table)
    parts = np.array([(people - rest) / k, (scanners - rest) / n, rest]).clip(min=0)
    return float(parts[1] / parts.sum()) if parts.sum() > 0 else nan


def scanners_of(values: Mapping[tuple[str, str, str], Mapping[str, float]], method: str, metric: str) -> ByScanner:
    """What a method leaves of a metric on each scanner (domain); of RATIOS: of one structure over another."""
    if metric not in RATIOS:
        return {where: own for (where, by, what), own in values.items() if by == method and what == metric}
    top, bottom = (scanners_of(values, method, part) for part in RATIOS[metric])
    return {where: _divided(own, bottom.get(where, {})) for where, own in top.items()}


def agreements(values: Mapping[tuple[str, str, str], Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """method -> volume -> `Agreement.listed` over the domains, for summary.json: with simulated scanners the same
    people are on every one of them. Nothing where the scanners have fewer than three people in common."""
    volumes = dict.fromkeys([what for _, _, what in values if what.startswith("volume_")] + list(RATIOS))
    tree: dict[str, dict[str, Any]] = {}
    for method in dict.fromkeys(method for _, method, _ in values):
        for volume in volumes:
            if (agreed := agreement(scanners_of(values, method, volume))) is not None:
                tree.setdefault(method, {})[volume] = agreed.listed()
    return tree


def _measured(own: Mapping[str, float], person: str) -> bool:
    return isfinite(own.get(person, nan))


def _divided(top: Mapping[str, float], bottom: Mapping[str, float]) -> dict[str, float]:
    return {name: value / bottom[name] for name, value in top.items() if bottom.get(name)}
