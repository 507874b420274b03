"""Simulated query scanners: one that is the same for everybody, or one of its own for each scan."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from harmony.core import Volume
from harmony.core.measures import robust_scaled
from harmony.data.simulation.random_shifts import DRAWN, Amount, Ranges, drawn_amounts
from harmony.data.simulation.shifts import CHAIN, CURVES, FIELDS
from harmony.data.simulation.shifts_unseen import UNSEEN

Strength = float | Mapping[str, float] | None
KINDS = (*CURVES, *FIELDS, "mix", *UNSEEN, "random")


@dataclass(frozen=True)
class QueryScanner(ABC):
    """Called with a Volume, gives the Volume that a scanner would have made (same mask, labels, scale).

    What it draws comes from its seed and name: another name is another scanner, and no order of calls matters.
    percentile: the robust scale applied again after a shift that is not monotone.
    """

    name: str
    seed: int
    percentile: float

    @abstractmethod
    def __call__(self, volume: Volume) -> Volume:
        """Raises DataError where it needs tissue labels and the volume has none."""

    @property
    @abstractmethod
    def needs_tissues(self) -> bool:
        """Whether it can do nothing with a volume without tissue labels."""

    def rng(self, *words: str) -> np.random.Generator:
        """Of seed, name and these words."""
        whole = "/".join((str(self.seed), self.name, *words))
        return np.random.default_rng(int.from_bytes(hashlib.sha256(whole.encode()).digest()[:8], "little"))

    def scaled(self, image: Tensor, volume: Volume) -> Volume:
        image, _ = robust_scaled(image, volume.mask, self.percentile)
        return inside(image, volume)


@dataclass(frozen=True)
class FixedScanner(QueryScanner):
    """The same for every subject: gains and shading come from (seed, name), noise from (seed, name, scan)."""

    kind: str
    strength: Strength

    def __call__(self, volume: Volume) -> Volume:
        if self.kind in CURVES:
            amount = 1.0 if self.strength is None else self._amounts()[self.kind]
            return inside(CURVES[self.kind](volume.image, amount), volume)
        amounts = {kind: amount for kind, amount in self._amounts().items() if amount != 0}
        image = volume.image
        for kind in (*CHAIN, *UNSEEN):
            if kind in amounts:
                words = [kind, volume.scan.name] if kind == "noise" else [kind]
                image = (FIELDS | UNSEEN)[kind](image, volume, amounts[kind], self.rng(*words))
        return self.scaled(image, volume) if amounts else volume

    @property
    def needs_tissues(self) -> bool:
        return self._amounts().get("tissue", 0) != 0

    def _amounts(self) -> dict[str, float]:
        """Kind -> strength of everything this scanner does."""
        if isinstance(self.strength, Mapping):
            return {kind: float(amount) for kind, amount in self.strength.items()}
        return {} if self.strength is None else {self.kind: float(self.strength)}


@dataclass(frozen=True)
class RandomScanner(QueryScanner):
    """Each scan has a scanner of its own, of (seed, name, scan): `random_shifts` within the ranges."""

    ranges: Ranges

    def __call__(self, volume: Volume) -> Volume:
        amounts = self.amounts(volume.scan.name)
        image = volume.image
        for kind, amount in amounts.items():
            image = DRAWN[kind](image, volume, amount, self.rng(volume.scan.name, kind))
        return self.scaled(image, volume) if amounts else volume

    @property
    def needs_tissues(self) -> bool:
        return self.ranges.tissue > 0

    def amounts(self, scan: str) -> dict[str, Amount]:
        """What the scanner of a scan does, in its order: kind -> strength."""
        return drawn_amounts(self.ranges, self.rng(scan))


def inside(image: Tensor, volume: Volume) -> Volume:
    return replace(volume, image=torch.where(volume.mask, image, 0).float())


def query_scanner(name: str, *, kind: str, strength: Strength, seed: int, percentile: float) -> QueryScanner:
    """A simulated scanner.

    kind       strength
    exp, log   None: e^x and log(1 + 3x), min-max to [0, 1]
    gamma      the exponent (1: no change)
    tissue     standard deviation of the log gains of CSF, grey and white matter (needs tissue labels)
    bias       exp(strength * field), the field from -1 to 1 over a head
    blur       FWHM in mm
    noise      Rician sigma, in units of the robust maximum
    mix        a mapping of the four above, applied in that order

    Of `shifts_unseen`, kinds that no corruption draws from:

    ghost      share of the image that appears again half a picture further on
    gibbs      share of k-space that is cut off along both axial directions
    thick      thickness of axial slices in mm
    coil       exp(strength * field), the field of narrow coils from -1 to 1 over a head
    warp       largest displacement over a head, mm; the truth stays the undistorted anatomy
    reorder    0: no change, 1: intensities above grey matter's are mirrored at it, so that white matter is darker

    random     each scan has its own of all but the last; the mapping is `random_shifts.Ranges`
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    if (kind in {"mix", "random"}) != isinstance(strength, Mapping) or (kind in {"exp", "log"}) != (strength is None):
        raise ValueError(f"strength {strength!r} does not fit kind {kind!r}")
    if kind == "random" and isinstance(strength, Mapping):
        return RandomScanner(name, seed, percentile, Ranges(**strength))
    if isinstance(strength, Mapping) and not set(strength) <= set(CHAIN):
        raise ValueError(f"a mix is made of {CHAIN}, got {sorted(strength)}")
    return FixedScanner(name, seed, percentile, kind, strength)
