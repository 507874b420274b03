"""From one value per subject to a mean that says how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


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
