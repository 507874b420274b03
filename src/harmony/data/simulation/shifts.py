"""Simulated query scanners: known changes of a reference volume, so that the truth is at hand.

The monotone kinds are the published ones (Exp, Log, Gamma). The others are not one curve of the grey level, as real
scanners are not: tissue contrast, shading, resolution, noise; in `shifts_unseen` kinds that nothing is trained on.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from harmony.core import DataError, Volume
from harmony.core.measures import FWHM_PER_SIGMA
from harmony.data.simulation.shifts_unseen import UNSEEN
from harmony.data.volumes.transforms import RobustScale

Strength = float | Mapping[str, float] | None
TISSUES = (1, 2, 3)  # CSF, grey matter, white matter
BORDER = 1.5  # mm: tissue maps are smoothed by it, as no scanner has contrast that jumps at a label's border


@dataclass(frozen=True)
class QueryScanner:
    """One simulated scanner: called with a Volume, gives the Volume it would have made (same mask, labels, scale).

    The scanner's own properties (gains, shading) come from (seed, name) and are the same for every subject; noise comes
    from (seed, name, scan). percentile: the robust scale applied again after a shift that is not monotone.
    """

    name: str
    kind: str
    strength: Strength
    seed: int
    percentile: float

    def __call__(self, volume: Volume) -> Volume:
        """Raises DataError where the kind needs tissue labels and the volume has none."""
        if self.kind in CURVES:
            image = CURVES[self.kind](volume.image, 1.0 if self.strength is None else self._amounts()[self.kind])
        else:
            amounts = {kind: amount for kind, amount in self._amounts().items() if amount != 0}
            if not amounts:
                return volume
            image = volume.image
            for kind in (*CHAIN, *UNSEEN):
                if kind in amounts:
                    image = (FIELDS | UNSEEN)[kind](image, volume, amounts[kind], self._rng(kind, volume))
            image, _ = RobustScale(self.percentile)(image, volume.mask)
        return replace(volume, image=torch.where(volume.mask, image, 0).float())

    @property
    def needs_tissues(self) -> bool:
        """Whether it can do nothing with a volume without tissue labels."""
        return self._amounts().get("tissue", 0) != 0

    def _amounts(self) -> dict[str, float]:
        """Kind -> strength of everything this scanner does."""
        if isinstance(self.strength, Mapping):
            return {kind: float(amount) for kind, amount in self.strength.items()}
        return {} if self.strength is None else {self.kind: float(self.strength)}

    def _rng(self, kind: str, volume: Volume) -> np.random.Generator:
        words = [str(self.seed), self.name, kind] + ([volume.scan.name] if kind == "noise" else [])
        return np.random.default_rng(int.from_bytes(hashlib.sha256("/".join(words).encode()).digest()[:8], "little"))


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
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    if (kind == "mix") != isinstance(strength, Mapping) or (kind in {"exp", "log"}) != (strength is None):
        raise ValueError(f"strength {strength!r} does not fit kind {kind!r}")
    if isinstance(strength, Mapping) and not set(strength) <= set(CHAIN):
        raise ValueError(f"a mix is made of {CHAIN}, got {sorted(strength)}")
    return QueryScanner(name, kind, strength, seed, percentile)


def _tissue(image: Tensor, volume: Volume, strength: float, rng: np.random.Generator) -> Tensor:
    """Each tissue times its own gain; the gains' logs have mean 0 and standard deviation `strength`."""
    if volume.labels is None or not set(volume.labels.unique().tolist()) <= {0, *TISSUES}:
        raise DataError(
            "a tissue contrast shift needs labels 1 CSF, 2 grey matter, 3 white matter",
            cure="set data.labels= to a tissue map, or leave this query scanner out",
            path=volume.scan.path,
            subject=volume.scan.subject,
        )
    draw = rng.standard_normal(len(TISSUES))
    gains = np.exp(strength * (draw - draw.mean()) / draw.std())
    shares = [_blurred((volume.labels == tissue).float(), volume, BORDER) for tissue in TISSUES]
    gain = 1 + sum((g - 1) * share for g, share in zip(gains.tolist(), shares, strict=True))
    return image * gain


def _bias(image: Tensor, volume: Volume, strength: float, rng: np.random.Generator) -> Tensor:
    """Smooth shading exp(strength * field): a random cubic in space about the brain's centre, the same for everyone."""
    terms = [order for order in itertools.product(range(4), repeat=3) if 1 <= sum(order) <= 3]
    weights = [rng.standard_normal() / sum(order) for order in terms]

    def cubic(place: np.ndarray) -> np.ndarray:
        """place: (..., 3) right, anterior, superior of the centre, in units of 90 mm (half a long head)."""
        powers = np.stack([place**k for k in range(4)])
        parts = zip(weights, terms, strict=True)
        return sum(w * powers[i, ..., 0] * powers[j, ..., 1] * powers[k, ..., 2] for w, (i, j, k) in parts)

    head = np.moveaxis(np.mgrid[-1:1:21j, -1:1:21j, -1:1:21j], 0, -1)
    values = cubic(
        head[(head**2).sum(-1) <= 1]
    )  # the unit ball, not this brain: the scanner knows nothing of its subject
    places = np.argwhere(volume.mask.numpy())
    centre = (places.min(0) + places.max(0)) / 2
    index = np.moveaxis(np.indices(volume.mask.shape), 0, -1) - centre
    field = cubic(index @ volume.affine[:3, :3].T / 90.0)
    field = (2 * field - values.max() - values.min()) / (values.max() - values.min())
    return image * torch.from_numpy(np.exp(strength * field)).float()


def _blur(image: Tensor, volume: Volume, strength: float, rng: np.random.Generator) -> Tensor:
    return _blurred(image, volume, strength)


def _blurred(image: Tensor, volume: Volume, fwhm: float) -> Tensor:
    """Gaussian of `fwhm` mm inside the brain, divided by the smoothed mask: the dark outside does not leak in."""
    sigma = fwhm / FWHM_PER_SIGMA / np.linalg.norm(volume.affine[:3, :3], axis=0)
    mask = volume.mask.float().numpy()
    weight = ndimage.gaussian_filter(mask, sigma)
    smooth = ndimage.gaussian_filter(image.numpy() * mask, sigma)
    return torch.from_numpy(np.divide(smooth, weight, out=np.zeros_like(smooth), where=mask > 0))


def _noise(image: Tensor, volume: Volume, strength: float, rng: np.random.Generator) -> Tensor:
    """The magnitude of a complex signal with Gaussian noise in both channels."""
    real, imaginary = torch.from_numpy(rng.standard_normal((2, *image.shape), dtype=np.float32)) * strength
    return torch.hypot(image + real, imaginary)


CURVES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "exp": lambda x, _: torch.expm1(x) / math.expm1(1),
    "log": lambda x, _: torch.log1p(3 * x) / math.log(4),
    "gamma": lambda x, g: x**g,
}
FIELDS = {"tissue": _tissue, "bias": _bias, "blur": _blur, "noise": _noise}
CHAIN = tuple(FIELDS)
KINDS = (*CURVES, *FIELDS, "mix", *UNSEEN)
