"""Blur and noise of a whole volume: what they do, how they show, and a Wiener filter in space that undoes them.

Volumes are (S, H, W); widths are Gaussian sigmas in voxels along each axis; noise is the Rician sigma.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional as F

MARGIN = 5  # voxels of nothing, at least, around the volume: the transforms are periodic, and the head must not meet itself
ORDERS = (1, 2, 3, 4)  # of the differences along an axis that describe the texture
EDGE = 2  # voxels: the texture is read this far inside the brain, its border says nothing of the scanner


@dataclass(frozen=True)
class Resolution:
    """width: (3,) blur, voxels. noise: () Rician sigma in units of the image."""

    width: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Texture:
    """axes: (3, 5) log energies of the 1st to 4th difference along each axis and of the mixed one, over the squared mean
    intensity; each difference is scaled so that white noise of variance v has energy v."""

    axes: Tensor


def gaussian_inside(image: Tensor, mask: Tensor, width: Tensor) -> Tensor:
    """G * (x m) / G * m inside the mask: Gaussian blur that the dark outside does not leak into."""
    if not (width > 0).any():
        return image
    inside = mask.to(image)
    smooth = _convolve(image * inside, width) / _convolve(inside, width).clamp(min=1e-3)
    return torch.where(mask, smooth, 0)


def deblur(image: Tensor, mask: Tensor, seen: Resolution, spectrum: Tensor) -> Tensor:
    """Wiener filter: conj(H) S / (|H|^2 S + N) of what the scanner saw, H its transfer function.

    spectrum: (Q,) mean power of reference volumes per brain voxel at frequencies 0 .. sqrt(3)/2 (`mean_spectrum`).
    The image is continued beyond the brain's border (`extend`) and multiplied by the blurred mask, which makes it what
    a blur of the masked image looks like everywhere.
    """
    if not (seen.width > 0).any() and float(seen.noise) <= 0:
        return image
    inside = mask.to(image)
    seen_everywhere = extend(image, mask) * _convolve(inside, seen.width)
    padded = _padded(seen_everywhere)
    transfer = _transfer(padded.shape, seen.width)
    signal = _at(spectrum, _frequency(padded.shape).to(image.device))
    gain = transfer * signal / (transfer.square() * signal + seen.noise.square().clamp(min=1e-8))
    clean = torch.fft.irfftn(torch.fft.rfftn(padded) * gain, s=padded.shape)
    return torch.where(mask, _cropped(clean, image.shape), 0)


def extend(image: Tensor, mask: Tensor) -> Tensor:
    """The image continued outside of its mask by averages of its nearest voxels, three voxels far."""
    values, known = (image * mask)[None, None], mask.to(image)[None, None]
    for _ in range(3):
        total, count = F.avg_pool3d(values * known, 3, 1, 1), F.avg_pool3d(known, 3, 1, 1)
        values = torch.where(known > 0, values, total / count.clamp(min=1e-6))
        known = (count > 0).to(image)
    return values[0, 0]


def mean_spectrum(image: Tensor, mask: Tensor, bins: int) -> Tensor:
    """(bins,) mean of |FFT(x m)|^2 over shells of frequency, per brain voxel."""
    padded = _padded(image * mask)
    power = torch.fft.rfftn(padded).abs().square() / mask.sum().clamp(min=1)
    place = (_frequency(padded.shape) / _highest() * (bins - 1)).round().long().flatten()
    total = torch.zeros(bins).index_add(0, place, power.flatten().float())
    count = torch.zeros(bins).index_add(0, place, torch.ones(len(place)))
    mean = total / count.clamp(min=1)
    return torch.where(count > 0, mean, mean[count > 0].min())


def texture(image: Tensor, mask: Tensor) -> Texture:
    """How much of each scale of detail the inner brain has, along each axis."""
    inner = _eroded(mask)
    level = image[inner].mean().clamp(min=1e-6) if inner.any() else torch.ones(())
    mixed = image
    for axis in range(3):
        mixed = _difference(mixed, axis, 2)
    rows = []
    for axis in range(3):
        energies = [_energy(_difference(image, axis, order), inner, math.comb(2 * order, order)) for order in ORDERS]
        rows.append(torch.stack([*energies, _energy(mixed, inner, 6.0**3)]))
    return Texture((torch.stack(rows) / level.square()).clamp(min=1e-8).log())


def _difference(image: Tensor, axis: int, order: int) -> Tensor:
    """The n-th difference, the same size; centred for even orders. Ends wrap: they lie outside of the eroded brain."""
    out = image
    for k in range(order):
        out = out - out.roll(1, axis) if k % 2 else out.roll(-1, axis) - out
    return out


def _energy(values: Tensor, inner: Tensor, noise_gain: float) -> Tensor:
    """Mean square without the largest 5 %: a lesion or vessel does not decide."""
    squares = values[inner].square()
    if len(squares) < 20:
        return torch.zeros(())
    return squares.sort().values[: int(0.95 * len(squares))].mean() / noise_gain


def _eroded(mask: Tensor) -> Tensor:
    outside = (~mask).float()[None, None]
    size = 2 * EDGE + 1
    return F.max_pool3d(F.pad(outside, (EDGE,) * 6, value=1.0), size, 1)[0, 0] == 0


def _convolve(image: Tensor, width: Tensor) -> Tensor:
    padded = _padded(image)
    out = torch.fft.irfftn(torch.fft.rfftn(padded) * _transfer(padded.shape, width), s=padded.shape)
    return _cropped(out, image.shape)


def _transfer(shape: torch.Size, width: Tensor) -> Tensor:
    """exp(-2 pi^2 |width f|^2) at the frequencies of rfftn."""
    total: Tensor | float = 0.0
    for axis, f in enumerate(_frequencies(shape)):
        total = total + (width[axis] * f.to(width.device)).square()
    return torch.exp(-2 * math.pi**2 * torch.as_tensor(total))


def _frequencies(shape: torch.Size) -> list[Tensor]:
    """Cycles per voxel along each axis, to be broadcast."""
    s, h, w = shape
    return [
        torch.fft.fftfreq(s).view(-1, 1, 1),
        torch.fft.fftfreq(h).view(1, -1, 1),
        torch.fft.rfftfreq(w).view(1, 1, -1),
    ]


def _frequency(shape: torch.Size) -> Tensor:
    return torch.as_tensor(sum(f.square() for f in _frequencies(shape))).sqrt()


def _highest() -> float:
    return math.sqrt(3) / 2


def _at(spectrum: Tensor, frequency: Tensor) -> Tensor:
    """Linear interpolation of the (Q,) spectrum."""
    place = (frequency / _highest() * (len(spectrum) - 1)).clamp(0, len(spectrum) - 1)
    below = place.long().clamp(max=len(spectrum) - 2)
    return torch.lerp(spectrum[below], spectrum[below + 1], place - below)


def _padded(image: Tensor) -> Tensor:
    """Zeros behind each end, to a length that the transform is quick for."""
    more = [next_fast_len(n + 2 * MARGIN, real=True) - n for n in image.shape]
    return F.pad(image, [edge for n in reversed(more) for edge in (0, n)])


def _cropped(padded: Tensor, shape: torch.Size) -> Tensor:
    return padded[: shape[0], : shape[1], : shape[2]]
