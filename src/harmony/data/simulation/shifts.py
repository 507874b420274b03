"""What simulated query scanners do to a reference volume: known changes, so that the truth is at hand.

The monotone kinds are the published ones (Exp, Log, Gamma). The others are not one curve of the grey level, as real
scanners are not: tissue contrast, shading, resolution, noise; in `shifts_unseen` kinds that nothing is trained on. Each
of these is f(image, volume, strength, rng) -> image, (S, H, W) on the volume's grid; strength 0 changes nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from harmony.core import DataError, Volume
from harmony.core.measures import FWHM_PER_SIGMA

TISSUES = (1, 2, 3)  # CSF, grey matter, white matter
BORDER = 1.5  # mm: tissue maps are smoothed by it, as no scanner has contrast that jumps at a label's border


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
    shares = [blurred((volume.labels == tissue).float(), volume, BORDER) for tissue in TISSUES]
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


def _blur(image: Tensor, volume: Volume, strength: float | np.ndarray, rng: np.random.Generator) -> Tensor:
    return blurred(image, volume, strength)


def blurred(image: Tensor, volume: Volume, fwhm: float | np.ndarray) -> Tensor:
    """Gaussian of `fwhm` mm, one or along each array axis, inside the brain, divided by the smoothed mask: the dark
    outside does not leak in."""
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
FIELDS: dict[str, Callable[[Tensor, Volume, Any, np.random.Generator], Tensor]] = {
    "tissue": _tissue,
    "bias": _bias,
    "blur": _blur,
    "noise": _noise,
}
CHAIN = tuple(FIELDS)
