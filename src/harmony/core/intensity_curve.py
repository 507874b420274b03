"""One curve of the intensity for a whole volume: all that some methods do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class IntensityCurve:
    """A curve that never falls, through (levels, values), both (N,), in units of the volume's robust maximum.

    levels: ascending, from 0 on, N >= 1. Between two of them the curve is straight, and from 0 to the first. Below 0
    nothing is bent; beyond the last level as much is added as there, so that highlights keep their detail.
    """

    levels: np.ndarray
    values: np.ndarray

    def __call__(self, intensity: np.ndarray) -> np.ndarray:
        """Any shape, float64."""
        inside = np.clip(intensity, 0, self.levels[-1])
        at, to = (np.concatenate(([0.0], points)) for points in (self.levels, self.values))
        return np.interp(inside, at, to) + (intensity - inside)
