"""Simulated scanners of kinds that no corruption here draws from: what a trained method has never seen.

Each is f(image, volume, strength, rng) -> image, (S, H, W) on the volume's grid; strength 0 changes nothing.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from harmony.core import Volume

RIGHT, ANTERIOR, SUPERIOR = range(3)  # world axes (RAS)
HEAD = 90.0  # mm: half a long head
COILS, LOOP, RING = 12, 35.0, 105.0  # receive coils, the reach of each in mm, their distance from the centre in mm
KNEE = 0.6  # intensity from which on `reordered` turns round: grey matter, of the robust maximum


def ghosted(image: Tensor, volume: Volume, strength: float, rng: np.random.Generator) -> Tensor:
    """N/2 ghost along the phase encoding (posterior to anterior): every second line of k-space is weaker.

    The odd lines times 1 - 2 strength: |(1 - strength) x(p) + strength x(p + N/2)|, N the picture's extent.
    """
    axis = _axis(volume, ANTERIOR)
    lines = torch.fft.fft(image, dim=axis)
    odd = (torch.arange(image.shape[axis]) % 2).view([-1 if k == axis else 1 for k in range(3)])
    return torch.fft.ifft(lines * (1 - 2 * strength * odd), dim=axis).abs()


def truncated(image: Tensor, volume: Volume, strength: float, rng: np.random.Generator) -> Tensor:
    """Gibbs ringing: k-space is 0 beyond the share 1 - strength of the highest frequency along both axial directions.

    The constant is kept, so that the sum of the signed image is; the magnitude is taken of it.
    """
    axes = [_axis(volume, RIGHT), _axis(volume, ANTERIOR)]
    space = torch.fft.fftn(image, dim=axes)
    for axis in axes:
        frequency = torch.fft.fftfreq(image.shape[axis]).abs()
        kept = frequency <= 0.5 * (1 - strength)
        space = space * kept.view([-1 if k == axis else 1 for k in range(3)])
    return torch.fft.ifftn(space, dim=axes).abs()


def thick_slices(image: Tensor, volume: Volume, strength: float, rng: np.random.Generator) -> Tensor:
    """Axial slices of `strength` mm: means over so many millimetres of brain, with lines from one to the next."""
    axis = _axis(volume, SUPERIOR)
    span = max(round(strength / np.linalg.norm(volume.affine[:3, axis])), 1)
    slices, mask = (values.movedim(axis, 0).numpy() for values in (image, volume.mask.float()))
    first = (len(slices) % span) // 2
    starts = np.arange(first, len(slices) - span + 1, span)
    sums, counts = (np.add.reduceat(v[first : starts[-1] + span], starts - first) for v in (slices * mask, mask))
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    place = np.clip((np.arange(len(slices)) - starts[0] - (span - 1) / 2) / span, 0, len(starts) - 1)
    below = np.minimum(place.astype(int), max(len(starts) - 2, 0))
    above = np.minimum(below + 1, len(starts) - 1)
    share = (place - below).reshape(-1, 1, 1) * (counts[above] > 0)  # a slice without brain here says nothing
    share = np.where(counts[below] > 0, share, 1.0)
    mixed = means[below] + share * (means[above] - means[below])
    seen = (counts[below] > 0) | (counts[above] > 0)
    return torch.from_numpy(np.where(seen, mixed, slices).astype(np.float32)).movedim(0, axis)


def coil_shaded(image: Tensor, volume: Volume, strength: float, rng: np.random.Generator) -> Tensor:
    """exp(strength * field), the field from -1 to 1 over a head: narrow lobes of coils on a ring about it.

    The root of the sum of squares of (1 + (distance / reach)^2)^(-3/2), each coil with a gain and a height of its own.
    """
    angle = 2 * np.pi * (np.arange(COILS) + rng.uniform(-0.3, 0.3, COILS)) / COILS
    height = rng.uniform(-60, 60, COILS)
    coils = np.stack([RING * np.cos(angle), RING * np.sin(angle), height], axis=-1)
    gains = np.exp(0.3 * rng.standard_normal(COILS))

    def field(place: np.ndarray) -> np.ndarray:
        distance = [((place - coil) ** 2).sum(-1) / LOOP**2 for coil in coils]
        return 0.5 * np.log(sum((g * (1 + d) ** -1.5) ** 2 for g, d in zip(gains, distance, strict=True)))

    head = field(_head())
    low, high = head.min(), head.max()
    values = (2 * field(_places(volume)) - high - low) / (high - low)
    return image * torch.from_numpy(np.exp(strength * values.clip(-1, 1))).float()


def warped(image: Tensor, volume: Volume, strength: float, rng: np.random.Generator) -> Tensor:
    """Gradient nonlinearity: what is shown at r comes from r + u(r), |u| at most `strength` mm over a head.

    The mask and the labels stay: the truth, and what a judge is asked for, is the undistorted anatomy. What comes from
    outside the brain is the nearest voxel of it.
    """
    place = _places(volume)
    moved = place + displacement(place, strength, rng)
    back = np.linalg.inv(volume.affine[:3, :3])
    index = np.moveaxis(moved @ back.T + _centre(volume), -1, 0)
    _, nearest = ndimage.distance_transform_edt(~volume.mask.numpy(), return_indices=True)
    filled = image.numpy()[tuple(nearest)]
    return torch.from_numpy(ndimage.map_coordinates(filled, index, order=3, mode="nearest")).clamp(min=0)


def displacement(place: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """(..., 3) mm from the isocentre -> (..., 3) mm: a random polynomial of second and third order along each axis, so
    that neither place nor scale at the isocentre changes; its largest length over a head is `strength`."""
    terms = [order for order in itertools.product(range(4), repeat=3) if 2 <= sum(order) <= 3]
    weights = rng.standard_normal((len(terms), 3))

    def polynomial(at: np.ndarray) -> np.ndarray:
        scaled = np.clip(at / HEAD, -1, 1)
        powers = np.stack([np.prod(scaled ** np.array(order), axis=-1) for order in terms], axis=-1)
        return powers @ weights

    largest = np.linalg.norm(polynomial(_head()), axis=-1).max()
    return strength / largest * polynomial(place)


def reordered(image: Tensor, volume: Volume, strength: float, rng: np.random.Generator) -> Tensor:
    """Grey matter brighter than white: x above 0.6 becomes 0.6 - (2 strength - 1) (x - 0.6). Not monotone above 1/2."""
    return image - 2 * strength * (image - KNEE).clamp(min=0)


def _axis(volume: Volume, world: int) -> int:
    """The array axis that runs along a world axis."""
    return int(np.abs(volume.affine[world, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)).argmax())


def _centre(volume: Volume) -> np.ndarray:
    """Array index of the middle of the brain's box."""
    inside = np.argwhere(volume.mask.numpy())
    return (inside.min(0) + inside.max(0)) / 2


def _places(volume: Volume) -> np.ndarray:
    """(S, H, W, 3) mm right, anterior, superior of the brain's centre."""
    index = np.moveaxis(np.indices(volume.mask.shape), 0, -1) - _centre(volume)
    return index @ volume.affine[:3, :3].T


def _head() -> np.ndarray:
    """(N, 3) mm: a ball, not this brain; the scanner knows nothing of its subject."""
    ball = np.moveaxis(np.mgrid[-1:1:21j, -1:1:21j, -1:1:21j], 0, -1)
    return HEAD * ball[(ball**2).sum(-1) <= 1]


UNSEEN = {
    "ghost": ghosted,
    "gibbs": truncated,
    "thick": thick_slices,
    "coil": coil_shaded,
    "warp": warped,
    "reorder": reordered,
}
