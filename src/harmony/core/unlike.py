"""What a scan has that no T1w brain of the reference's kind has: asked before any method, and the same for all of them.

It needs what travels with every model (`Reference`), and sees neither an increasing curve of the intensity nor shading:
the scan's and the reference's local contrasts are compared by their ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from harmony.core.reference import Reference
from harmony.core.stack import Stack

UNLIKE = "not like any T1w brain that is known"
THIN = "too thin to estimate"
# Shares of the brain's box: detail finer than FINE says nothing of where tissues are, nor what is coarser than WIDE.
FINE, WIDE = 1 / 48, 1 / 12
# Chosen on 77 training and 11 validation people of ixi-hh as they are, and two of the latter under simulated scanners.
LAYOUT = 0.3  # correlation of local contrasts: two have 0.59 and more, white matter darker than grey 0.44, FLAIR 0.18
FLAT = 0.05  # of the brain's voxels, equal to all their neighbours: they have 0.002 at most, label maps 0.4
SPIKE = 150.0  # power of one frequency over the mean as far from 0: they have 96 at most, slices of 6 mm 107
BRIGHT, SURFACE = 1.45, 3.0  # the brightest over their surroundings: 1.22 at most, 1.35 in noise; at the surface: 0.57
THINNEST_MM, FEWEST_SLICES = 80.0, 8  # of a brain along any axis: adults' have 110 mm and more
EQUAL = 1e-4  # of the robust maximum
ADULT = 18.0  # years

Volume3d = NDArray[np.float32]
Mask3d = NDArray[np.bool_]


@dataclass(frozen=True)
class Likeness:
    """layout: rank correlation of the scan's local contrast with the mean reference brain's, -1 .. 1. flat: share of
    the brain's voxels whose neighbours have the very same value. spike: the strongest single frequency, over the mean
    power as far from 0. bright: the 99.8th percentile over the 90th of the intensity relative to its surroundings.
    surface: share of the brightest voxels that lie at the brain's surface, over the share that all have there."""

    layout: float
    flat: float
    spike: float
    bright: float
    surface: float

    def words(self) -> list[str]:
        """What is strange, `UNLIKE` first; nothing of a good scan."""
        strange = []
        if self.flat > FLAT:
            strange.append("large parts have one value, as a map of labels has")
        if self.layout < -LAYOUT:
            strange.append("it is dark where T1w brains are bright, as T2w images are")
        elif self.layout < LAYOUT:
            strange.append("dark and bright do not lie where a T1w brain has them")
        if self.spike > SPIKE:
            strange.append("stripes of one frequency lie over it")
        if self.bright > BRIGHT and self.surface > SURFACE:
            strange.append("vessels at its surface are brighter than white matter, as with a contrast agent")
        return [f"{UNLIKE}: {each}" for each in strange]


def unlike(stack: Stack, reference: Reference, age: float | None = None, ages: Sequence[float] = ()) -> list[str]:
    """What stands against trusting anything that is estimated of this scan, in words; empty for a good one.

    stack: all slices of a preprocessed scan. age, ages: the person's, and the youngest and oldest that the reference
    was learned from (`ModelCard.reference`), in years, where they are known.
    """
    words = [] if not too_young(age, ages) else [f"{UNLIKE}: a child of {age:g}, and the model knows {ages[0]:g} on"]
    if too_thin(stack):
        return [*words, THIN]
    return [*words, *likeness(stack, reference).words()]


def too_young(age: float | None, ages: Sequence[float]) -> bool:
    """Younger than anybody whom the reference was learned from, and not grown up."""
    return age is not None and bool(ages) and age < min(*ages, ADULT)


def too_thin(stack: Stack) -> bool:
    """A slab, not a brain; without brain at all, too."""
    sides = extent(stack.mask[:, 0])
    if stack.spacing is None:
        return min(sides) < FEWEST_SLICES
    return min(n * side for n, side in zip(sides, stack.spacing, strict=True)) < THINNEST_MM


def likeness(stack: Stack, reference: Reference) -> Likeness:
    """Raises nothing: of an empty brain everything is 0."""
    expected = on_size(reference.start(stack.position.cpu()), stack.image.shape[-2:])[:, 0]
    image, mask = stack.image[:, 0].cpu().float(), stack.mask[:, 0].cpu()
    box = tuple(slice(int(k.min()), int(k.max()) + 1) for k in mask.nonzero().T)
    image, mask, expected = image[box], mask[box], expected[box]
    x, inside = image.numpy(), mask.numpy()
    relative = (x / np.maximum(smoothed(x, inside, WIDE), EQUAL)).astype(np.float32)
    return Likeness(layout(image, expected, mask), flat(x, inside), spike(x, inside), *brightest(relative, inside))


def layout(image: Tensor, expected: Tensor, mask: Tensor) -> float:
    """Of (S, H, W), at half the resolution; where the reference has brain as well."""
    both = mask & (expected > 0)
    weight = pooled(both.float())
    inside = (weight > 0.5).numpy()
    ranks = []
    for each in (image, expected):
        values = (pooled(each * both) / weight.clamp(min=0.5)).numpy()
        local = smoothed(values, inside, FINE)
        for _ in range(2):  # a steep shading leaves at the brain's edge what the second time takes
            local = (local / np.maximum(smoothed(local, inside, WIDE), EQUAL)).astype(np.float32)
        ranks.append(local[inside].argsort().argsort())
    return correlation(*ranks)


def flat(image: Volume3d, mask: Mask3d) -> float:
    same = ndimage.binary_erosion(mask) & (image > 0)
    count = same.sum()
    for axis in range(3):
        step = np.abs(np.diff(image, axis=axis)) < EQUAL
        same &= np.insert(step, 0, False, axis) & np.insert(step, step.shape[axis], False, axis)
    return float(same.sum() / max(count, 1))


def spike(image: Volume3d, mask: Mask3d) -> float:
    """Of the detail: what is coarser than a tenth of a cycle per voxel is anatomy."""
    detail = np.where(mask, image - smoothed(image, mask, 2 * FINE), 0)
    power = np.abs(np.fft.rfftn(detail)) ** 2
    axes = np.meshgrid(*map(np.fft.fftfreq, image.shape[:2]), np.fft.rfftfreq(image.shape[2]), indexing="ij")
    ring = (100 * np.sqrt(sum(axis**2 for axis in axes))).astype(int)
    mean = np.bincount(ring.ravel(), power.ravel()) / np.maximum(np.bincount(ring.ravel()), 1)
    fine = ring >= 12
    return float((power[fine] / np.maximum(mean[ring[fine]], 1e-12)).max()) if fine.any() else 0.0


def brightest(relative: Volume3d, mask: Mask3d) -> tuple[float, float]:
    """`bright` and `surface` of the intensity relative to its surroundings."""
    values = relative[mask]
    outer = (mask & ~ndimage.binary_erosion(mask, iterations=2))[mask]
    top = values >= np.quantile(values, 0.99)
    ninth, last = np.quantile(values, (0.9, 0.998))
    return float(last / max(ninth, EQUAL)), float(outer[top].mean() / max(outer.mean(), EQUAL))


def smoothed(values: Volume3d, mask: Mask3d, share: float) -> Volume3d:
    """Gaussian inside the mask, of a deviation that is a share of the box along each axis."""
    sigma = [share * n for n in values.shape]
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma, truncate=3)
    smooth = ndimage.gaussian_filter(np.where(mask, values, 0).astype(np.float32), sigma, truncate=3)
    return np.divide(smooth, weight, out=np.zeros_like(smooth), where=mask)


def pooled(values: Tensor) -> Tensor:
    """(S, H, W) means over 2 x 2 x 2 voxels; an odd last one is left out."""
    return F.avg_pool3d(values[None, None], 2)[0, 0]


def on_size(slices: Tensor, size: Sequence[int]) -> Tensor:
    """(B, 1, H, W) cut, or grown with zeros, about the centre."""
    grow = [wanted - have for wanted, have in zip(size, slices.shape[-2:], strict=True)]
    (top, left), (bottom, right) = [n // 2 for n in grow], [n - n // 2 for n in grow]
    return F.pad(slices, (left, right, top, bottom))


def extent(mask: Tensor) -> list[int]:
    """Voxels from the first to the last of the brain along each axis; zeros without brain."""
    places = mask.nonzero()
    return (places.amax(0) - places.amin(0) + 1).tolist() if len(places) else [0, 0, 0]


def correlation(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """0 where there is nothing to correlate."""
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 else 0.0
