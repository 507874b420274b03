"""What leaves the program is what was asked for: looked at once more before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import map_coordinates

from harmony.core import DataError, Volume
from harmony.data import Nifti

REACHED = 0.05  # of the model's mask, interpolated: below, a voxel has no neighbour on the model's grid
UNIT = 0.25  # of the robust maximum: how far the median of the brain may be from that of the harmonized slices
SAME = 1e-5  # of the robust maximum: what rounding may change
NAMED_ML = 0.5  # what was not reached below this needs no word
CURE = "leave the scan out, and report it: this is a mistake of harmony"


@dataclass(frozen=True)
class Reach:
    """How much of the brain mask was harmonized, and how much lies beyond the model's slices. In ml."""

    harmonized_ml: float
    missed_ml: float

    def sidecar(self) -> dict[str, float]:
        return {"HarmonizedVolume": round(self.harmonized_ml, 1), "NotHarmonizedVolume": round(self.missed_ml, 1)}

    def remarks(self) -> list[str]:
        """For people; none where all was harmonized."""
        whole = self.harmonized_ml + self.missed_ml
        if self.missed_ml < NAMED_ML:
            return []
        return [f"{self.missed_ml:.1f} of {whole:.0f} ml of the brain mask lie beyond the model's slices, unchanged"]


class Unit(NamedTuple):
    """zero, one: the intensities of a result that the model calls 0 and 1."""

    zero: float
    one: float


@dataclass(frozen=True)
class Promise:
    """What is to hold of a result. native: the scan's file. untouched: (X, Y, Z) the file, in the unit that was asked
    for. brain: (X, Y, Z) bool. volume: as the model saw it."""

    native: Nifti
    untouched: np.ndarray
    brain: np.ndarray
    volume: Volume
    unit: Unit

    def check(self, data: np.ndarray, image: np.ndarray) -> Reach:
        """Raises DataError for a result that is not on the scan's grid, not finite, changed outside of the brain, or in
        another unit than was asked for. data: (X, Y, Z) the result. image: (S, H, W) the harmonized slices."""
        if data.shape != self.native.data.shape:
            raise self._broken(f"the result is {data.shape}, the scan {self.native.data.shape}")
        if count := np.count_nonzero(~np.isfinite(data)):
            raise self._broken(f"{count} voxels of the result are no numbers")
        if count := np.count_nonzero((np.abs(data - self.untouched) > SAME * self.unit.one) & ~self.brain):
            raise self._broken(f"{count} voxels outside of the brain were changed")
        reach = self.reach()
        if not reach.harmonized_ml:
            raise self._broken("nothing of the brain mask was harmonized")
        self._check_unit(data, image)
        return reach

    def reach(self) -> Reach:
        """Which voxels of the brain have the model's slices about them: their places, on the slices' own grid."""
        places = np.argwhere(self.brain)
        to_slices = np.linalg.inv(self.volume.affine) @ self.native.affine
        index = (places @ to_slices[:3, :3].T + to_slices[:3, 3]).T
        inside = self.volume.mask.numpy().astype(np.float32)
        reached = map_coordinates(inside, index, order=1, mode="constant") > REACHED
        ml = abs(np.linalg.det(self.native.affine[:3, :3])) / 1000
        return Reach(ml * np.count_nonzero(reached), ml * np.count_nonzero(~reached))

    def _check_unit(self, data: np.ndarray, image: np.ndarray) -> None:
        wanted = float(np.median(image[self.volume.mask.numpy()]))
        there = (float(np.median(data[self.brain])) - self.unit.zero) / self.unit.one
        if abs(there - wanted) > UNIT:
            raise self._broken(f"the brain's median is {there:.3g} of its unit, and should be {wanted:.3g}")

    def _broken(self, problem: str) -> DataError:
        scan = self.volume.scan
        return DataError(problem, cure=CURE, path=scan.path, subject=scan.subject)
