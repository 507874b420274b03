"""A method against another on the same subjects: what it won, whom it harmed, which share of a loss it made good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harmony.core.vocabulary import result_metric
from harmony.metrics.summary import Interval, bootstrap_mean


class Against(NamedTuple):
    """difference: mean of (value - baseline). worse: the share of subjects that it made worse."""

    difference: Interval
    worse: float


def better(metric: str) -> int:
    """+1 where larger is better, -1 where smaller is, 0 for what is neither (bpd, a volume, a time)."""
    known = result_metric(metric)
    return {"higher": 1, "lower": -1, None: 0}[known.better if known else None]


def against(metric: str, values: Mapping[str, float], baseline: Mapping[str, float]) -> Against | None:
    """values, baseline: by subject. None for a metric that is neither better nor worse, or without a common subject."""
    common = [subject for subject in values if subject in baseline]
    if not common or better(metric) == 0:
        return None
    differences = np.array([values[subject] - baseline[subject] for subject in common])
    return Against(bootstrap_mean(differences.tolist()), float((better(metric) * differences < 0).mean()))


def recovered(
    method: Mapping[str, float],
    none: Mapping[str, float],
    reference: Mapping[str, float],
    *,
    least: float = 0.01,
    draws: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """(mean method - mean none) / (mean reference - mean none) over common subjects: the share of a loss made good.

    1: all of it; below 0: it got worse. None where the shift cost less than `least`: there is nothing to recover.
    """
    common = [subject for subject in method if subject in none and subject in reference]
    table = np.array([[method[s] - none[s], reference[s] - none[s]] for s in common]).reshape(-1, 2)
    if len(common) == 0 or table[:, 1].mean() < least:
        return None
    picks = np.random.default_rng(seed).integers(0, len(common), (draws, len(common)))
    gained, lost = np.moveaxis(table[picks].mean(1), -1, 0)
    shares = np.divide(gained, lost, out=np.full(draws, np.nan), where=lost > 0)
    low, high = np.nanpercentile(shares, [2.5, 97.5])
    return Interval(float(table[:, 0].mean() / table[:, 1].mean()), float(low), float(high), len(common))


def slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Of the least-squares line of y by x; None for fewer than three points, or where all x are the same."""
    return None if len(x) < 3 or np.ptp(x) == 0 else float(np.polyfit(x, y, 1)[0])
