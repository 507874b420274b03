"""Each scan of a scanner held against the others: which are of another scanner, contrast or kind of people?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# What is looked at, and the deviation below which scans of one scanner do not differ, however alike the others are.
LOOKED_AT = {
    "contrast_gm_wm": ("contrast of grey over white matter", 0.02),
    "contrast_csf_wm": ("contrast of fluid over white matter", 0.04),
    "spread_wm": ("spread of white matter", 0.02),
    "volume_brain_ml": ("brain volume in ml", 120.0),
}
FAR = 4.0  # robust deviations: one normal value in 16,000
NORMAL = 1.4826  # a normal distribution's standard deviation over its median absolute deviation


@dataclass(frozen=True)
class Outlier:
    """name: of the scan. reason: what it has, and what the others have."""

    name: str
    reason: str


def outliers(measures: Mapping[str, Mapping[str, float]]) -> list[Outlier]:
    """The scans (name -> `measure`) that have a value more than `FAR` robust deviations from the median of the others.

    z = |x - median| / max(1.4826 median |x - median|, least), median and deviation of the other scans.
    """
    odd = []
    for name, own in measures.items():
        others = [values for other, values in measures.items() if other != name]
        if reason := unlike(own, others):
            odd.append(Outlier(name, reason))
    return odd


def unlike(own: Mapping[str, float], others: Sequence[Mapping[str, float]]) -> str:
    """What a scan has that the others have not, in words; empty where there is nothing."""
    reasons = (_reason(key, own[key], [values[key] for values in others]) for key in LOOKED_AT)
    return "; ".join(filter(None, reasons))


def distance(own: Mapping[str, float], others: Sequence[Mapping[str, float]]) -> float:
    """The largest |z| of a scan: what wants looking at first."""
    return max(abs(_standing(key, own[key], [values[key] for values in others])) for key in LOOKED_AT)


def _standing(key: str, value: float, others: Sequence[float]) -> float:
    """z, see `outliers`."""
    middle = float(np.median(others))
    return (value - middle) / max(NORMAL * float(np.median(np.abs(np.array(others) - middle))), LOOKED_AT[key][1])


def _reason(key: str, value: float, others: Sequence[float]) -> str | None:
    if abs(_standing(key, value, others)) <= FAR:
        return None
    low, high = np.quantile(others, [0.1, 0.9])
    return f"{LOOKED_AT[key][0]} {value:.3g}, the others {low:.3g} to {high:.3g}"
