"""Random scanners to train against: corruptions of slices that can be drawn, kept and replayed exactly.

Images are (B, 1, H, W) in [0, 1], masks the same shape in bool; the background stays 0. Slices of the same volume share
their parameters (not their noise): `volume` (B,) is any integer per volume, `position` (B,) in [0, 1] the place in it.
Numbers on the 0..255 scale of the papers are called grey levels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from harmony.core.measures import robust_maximum

GREY_LEVELS = 255
Range = tuple[float, float]
P = TypeVar("P")


class Corruption(ABC, Generic[P]):
    """`replay` of `draw`."""

    @abstractmethod
    def draw(self, position: Tensor, volume: Tensor, generator: Generator) -> P:
        """Parameters for each of the B slices; the generator is on the CPU."""

    @abstractmethod
    def replay(self, image: Tensor, mask: Tensor, parameters: P) -> Tensor:
        """The corrupted image: the same, bit for bit, for the same parameters."""


class Curves(NamedTuple):
    """An intensity curve per slice: clip((x + shift) * gain) ** gamma, then the table. Neutral: 0, 1, 1, linear.

    shift, gain, gamma: (B,). table: (B, 2^n + 1), the values at 0, 2^-n, ..., 1.
    """

    shift: Tensor
    gain: Tensor
    gamma: Tensor
    table: Tensor


class CurveCorruption(Corruption[Curves]):
    """The corruption of Harmonizing Flows (arXiv 2301.11551): a monotone table, a photometric chain, or both.

    Args:
        shares: of "table alone", "chain alone", "chain, then table"; they add up to 1.
        dyadic_levels, middle: of the table, see `monotone_table`.
        shift: the chain adds U(-shift, shift) grey levels;
        gain: then multiplies by U(*gain) and clips to [0, 1]; clip_between: also before it multiplies;
        gamma: then raises to the power U(*gamma);
        probability: of each of the three.
    """

    def __init__(
        self,
        *,
        shares: tuple[float, float, float],
        dyadic_levels: int,
        middle: float,
        shift: float,
        gain: Range,
        gamma: Range,
        probability: float,
        clip_between: bool = False,  # optional: a model of a config that does not name it is found again
    ) -> None:
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"shares must add up to 1, got {shares}")
        self.shares, self.dyadic_levels, self.middle = shares, dyadic_levels, middle
        self.shift, self.gain, self.gamma, self.probability = shift, gain, gamma, probability
        self.clip_between = clip_between

    def draw(self, position: Tensor, volume: Tensor, generator: Generator) -> Curves:
        index = _groups(volume)
        count = int(index.max()) + 1
        kind = torch.rand(count, generator=generator)
        tabled = (kind < self.shares[0]) | (kind >= self.shares[0] + self.shares[1])
        chained = kind >= self.shares[0]

        def step(low: float, high: float, neutral: float) -> Tensor:
            value = low + (high - low) * torch.rand(count, generator=generator)
            happens = chained & (torch.rand(count, generator=generator) < self.probability)
            return torch.where(happens, value, neutral)

        reach = self.shift / GREY_LEVELS
        chain = step(-reach, reach, 0.0), step(*self.gain, 1.0), step(*self.gamma, 1.0)
        table = monotone_table(count, self.dyadic_levels, self.middle, generator)
        table = torch.where(tabled[:, None], table, torch.linspace(0, 1, table.shape[1]))
        return Curves(*(values[index] for values in (*chain, table)))

    def replay(self, image: Tensor, mask: Tensor, parameters: Curves) -> Tensor:
        shift, gain, gamma, table = (p.to(image) for p in parameters)
        x = image + per_image(shift)
        x = ((x.clamp(0, 1) if self.clip_between else x) * per_image(gain)).clamp(0, 1)
        gamma = per_image(gamma)
        x = torch.where(gamma == 1, x, x**gamma)
        return torch.where(mask, look_up(x, table), 0)


def monotone_table(count: int, dyadic_levels: int, middle: float, generator: Generator) -> Tensor:
    """(count, 2^dyadic_levels + 1) increasing random values with 0 and 1 at the ends.

    Midpoints are filled level by level, each uniform in the middle share `middle` of the gap between its neighbours.
    """
    table = torch.tensor([0.0, 1.0]).expand(count, 2)
    for _ in range(dyadic_levels):
        left, right = table[:, :-1], table[:, 1:]
        place = 0.5 + middle * (torch.rand(left.shape, generator=generator) - 0.5)
        pairs = torch.stack((left, left + place * (right - left)), dim=2).flatten(1)
        table = torch.cat((pairs, table[:, -1:]), dim=1)
    return table


def look_up(image: Tensor, table: Tensor) -> Tensor:
    """Linear interpolation of (B, 1, H, W) in [0, 1] in one table (B, K) of evenly spaced values for each image."""
    place = image.flatten(1) * (table.shape[1] - 1)
    left = place.floor().clamp(0, table.shape[1] - 2).long()
    low, high = table.gather(1, left), table.gather(1, left + 1)
    return (low + (place - left) * (high - low)).view_as(image)


class InTurn(Corruption[tuple[Any, ...]]):
    """One corruption after the other, in the order of the mapping, each with its own draw."""

    def __init__(self, corruptions: Mapping[str, Corruption]) -> None:
        self.corruptions = list(corruptions.values())

    def draw(self, position: Tensor, volume: Tensor, generator: Generator) -> tuple[Any, ...]:
        return tuple(corruption.draw(position, volume, generator) for corruption in self.corruptions)

    def replay(self, image: Tensor, mask: Tensor, parameters: tuple[Any, ...]) -> Tensor:
        for corruption, own in zip(self.corruptions, parameters, strict=True):
            image = corruption.replay(image, mask, own)
        return image


class Scanner(NamedTuple):
    """A broad corruption per slice. K cosines an axis, J intensities; neutral where everything but the seeds is 0.

    contrast: (B, J, K, K, K) log gain by intensity. bias: (B, K, K, K) log gain. blur: (B,) Gaussian sigma in pixels.
    noise: (B,) Rician sigma. seed: (B,) of the noise. position, volume: (B,).
    """

    contrast: Tensor
    bias: Tensor
    blur: Tensor
    noise: Tensor
    seed: Tensor
    position: Tensor
    volume: Tensor


class BroadCorruption(Corruption[Scanner]):
    """What scanners do beyond one curve: tissue-dependent contrast, shading, resolution, noise, in this order.

        x <- x exp(c(x, position, row, column))      c: smooth over the volume and over the intensity
        x <- x exp(b(position, row, column))         b: smooth over the volume
        x <- Gaussian blur inside the brain, in the plane
        x <- |x + sigma n|, n complex                Rician noise, afresh for each slice
        x <- clip(x * percentile of the volume before / after)

    The last line is what per-volume robust scaling would do to such a scan: an overall gain leaves no trace.

    Args:
        contrast, bias: largest standard deviation of c and b; blur: largest sigma in pixels; noise: largest sigma.
            Each is drawn from U(0, largest) for a volume, or is 0 with probability 1 - `probability`.
        order: cosines per axis in c and b; intensities: grey levels between which c is blended.
        percentile: of the intensities inside the brain.
    """

    def __init__(
        self,
        *,
        contrast: float,
        bias: float,
        blur: float,
        noise: float,
        probability: float,
        order: int,
        intensities: int,
        percentile: float,
    ) -> None:
        self.contrast, self.bias, self.blur, self.noise = contrast, bias, blur, noise
        self.probability, self.order, self.intensities, self.percentile = probability, order, intensities, percentile

    def draw(self, position: Tensor, volume: Tensor, generator: Generator) -> Scanner:
        index = _groups(volume)
        count = int(index.max()) + 1

        def strength(largest: float) -> Tensor:
            happens = torch.rand(count, generator=generator) < self.probability
            return largest * torch.rand(count, generator=generator) * happens

        def field(largest: float, *shape: int) -> Tensor:
            normal = torch.randn(count, *shape, *3 * (self.order,), generator=generator)
            return normal * cosine_weights(self.order) * strength(largest).view(-1, *(len(shape) + 3) * (1,))

        contrast, bias = field(self.contrast, self.intensities), field(self.bias)
        blur, noise = strength(self.blur), strength(self.noise)
        seed = torch.randint(2**31, index.shape, generator=generator)
        return Scanner(contrast[index], bias[index], blur[index], noise[index], seed, position.clone(), index)

    def replay(self, image: Tensor, mask: Tensor, parameters: Scanner) -> Tensor:
        size = (image.shape[-2], image.shape[-1])
        contrast, bias, position = (p.to(image) for p in (parameters.contrast, parameters.bias, parameters.position))
        fields = smooth_field(contrast, position, size)
        x = image * (blend_weights(image, self.intensities) * fields).sum(1, keepdim=True).exp()
        x = x * smooth_field(bias[:, None], position, size).exp()
        x = blur_inside(x, mask, parameters.blur.to(image), radius=math.ceil(3 * self.blur))
        x = rician_noise(x, parameters.noise.to(image), parameters.seed)
        x = self._rescale(x, image, mask, parameters.volume)
        return torch.where(mask, x.clamp(0, 1), 0)

    def _rescale(self, x: Tensor, image: Tensor, mask: Tensor, volume: Tensor) -> Tensor:
        x = x.clone()
        for index in volume.unique():
            own = (volume == index).to(x.device)
            before, after = (robust_maximum(v[own], mask[own], self.percentile) for v in (image, x))
            x[own] *= before / after if after > 0 else 1.0
        return x


def cosine_weights(order: int) -> Tensor:
    """(K, K, K) standard deviations of the coefficients of `smooth_field`: waves k fade as 1 / (1 + |k|^2).

    Scaled so that the field's own mean square over the volume is 1 in expectation.
    """
    k = torch.arange(order)
    waves = torch.cartesian_prod(k, k, k)
    weight = 1 / (1 + waves.square().sum(1))
    power = weight.square() * 0.5 ** (waves > 0).sum(1)  # the mean of cos^2 is 1/2 along each axis that varies
    return (weight / power.sum().sqrt()).view(order, order, order)


def smooth_field(coefficients: Tensor, position: Tensor, size: tuple[int, int]) -> Tensor:
    """sum_kij a_kij cos(pi k position) cos(pi i row) cos(pi j column): (B, J, K, K, K) -> (B, J, H, W)."""
    k = math.pi * torch.arange(coefficients.shape[-1]).to(coefficients)
    rows, columns = (((torch.arange(n).to(k) + 0.5) / n * k[:, None]).cos() for n in size)
    along = (position[:, None] * k).cos()
    return torch.einsum("bckij,bk,ih,jw->bchw", coefficients, along, rows, columns)


def blend_weights(image: Tensor, intensities: int) -> Tensor:
    """(B, J, H, W), adding up to 1: smooth bumps (1 + cos(pi d)) / 2 around J evenly spaced intensities in [0, 1]."""
    centre = torch.arange(intensities).to(image).view(1, -1, 1, 1)
    distance = (image * (intensities - 1) - centre).abs().clamp(max=1)
    return (1 + (math.pi * distance).cos()) / 2


def blur_inside(image: Tensor, mask: Tensor, sigma: Tensor, *, radius: int) -> Tensor:
    """Gaussian blur with one sigma (pixels) per image, divided by the blurred mask: the dark outside stays out."""
    d = torch.arange(-radius, radius + 1).to(image)
    kernel = torch.exp(-0.5 * (d / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None]

    def blurred(x: Tensor) -> Tensor:
        x = x.transpose(0, 1)  # images become channels, so that each has its own kernel
        x = F.conv2d(x, kernel[..., None], padding=(radius, 0), groups=len(kernel))
        return F.conv2d(x, kernel[:, :, None], padding=(0, radius), groups=len(kernel)).transpose(0, 1)

    inside = mask.to(image)
    return torch.where(mask, blurred(image * inside) / blurred(inside).clamp(min=1e-6), image)


def rician_noise(image: Tensor, sigma: Tensor, seed: Tensor) -> Tensor:
    """|image + sigma (n_1 + i n_2)|; each slice's noise comes from its own seed, whatever the batch."""
    size = (2, *image.shape[-2:])
    noise = torch.stack([torch.randn(size, generator=Generator().manual_seed(int(s))) for s in seed]).to(image)
    real, imaginary = (noise * per_image(sigma)).split(1, dim=1)
    return torch.hypot(image + real, imaginary)


def _groups(volume: Tensor) -> Tensor:
    """(B,) the same integers counted from 0, in the order in which they sort."""
    return volume.cpu().unique(return_inverse=True)[1]


def per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
