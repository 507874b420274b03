"""Blur and noise of a whole volume: what they do, how they show, and a Wiener filter in space that undoes them.

Volumes are (S, H, W); widths are Gaussian sigmas in voxels along each axis; noise is the Rician sigma.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional as F

PADDING = 5  # voxels of nothing, at least, around the volume: transforms are periodic, the head must not meet itself
RIM = 2  # voxels: the texture is read this far inside the brain, its border says nothing of the scanner
OWN_NOISE = 3e-3  # at least, of a blurred scan: without any the filter would believe its own ringing
CELLS = 8  # of frequency along an axis, from 0 to 1/2 cycle per voxel


@dataclass(frozen=True)
class Resolution:
    """width: (3,) blur, voxels. noise: () Rician sigma in units of the image."""

    width: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Texture:
    """power: (512,) log power of the inner brain's detail in cells of |frequency| along each axis, over the squared
    level; white noise of variance v has v / level^2 in every cell. level: () mean intensity of the inner brain."""

    power: Tensor
    level: Tensor


def gaussian_inside(image: Tensor, mask: Tensor, width: Tensor) -> Tensor:
    """G * (x m) / G * m inside the mask: Gaussian blur that the dark outside does not leak into."""
    if not (width > 0).any():
        return image
    inside = mask.to(image)
    smooth = _convolve(image * inside, width) / _convolve(inside, width).clamp(min=1e-3)
    return torch.where(mask, smooth, 0)


def deblur(image: Tensor, mask: Tensor, resolution: Resolution, spectrum: Tensor) -> Tensor:
    """Wiener filter: conj(H) S / (|H|^2 S + N) of an image of that resolution, H its transfer function.

    spectrum: (Q,) mean power of reference volumes per brain voxel at frequencies 0 .. sqrt(3)/2 (`mean_spectrum`).
    The image is continued beyond the brain's border (`extend`) and multiplied by the blurred mask, which makes it what
    a blur of the masked image looks like everywhere.
    """
    if not (resolution.width > 0).any() and float(resolution.noise) <= 0:
        return image
    inside = mask.to(image)
    everywhere = extend(image, mask) * _convolve(inside, resolution.width)
    padded = _padded(everywhere)
    transfer = _transfer(padded.shape, resolution.width)
    signal = _at(spectrum, _frequency(padded.shape).to(image.device))
    clean = torch.fft.irfftn(torch.fft.rfftn(padded) * wiener(transfer, signal, resolution.noise), s=padded.shape)
    return torch.where(mask, _cropped(clean, image.shape), 0)


def wiener(transfer: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
    """conj(H) S / (|H|^2 S + N), of a real H. noise: Rician sigma."""
    return transfer * signal / (transfer.square() * signal + noise.square() + OWN_NOISE**2)


def predicted_error(used: Resolution | None, true: Resolution, spectrum: Tensor, own: Tensor) -> float:
    """Mean squared error of a voxel, sum_f |G H - 1|^2 S + max(|G|^2 N - N0, 0), after the filter G that was made for
    `used` (None: G = 1) on a scan whose blur and noise truly are H and N, where a reference scan has N0 itself.
    own: () the Rician sigma of N0.

    Summed over the cells of `cell_frequencies`, each as large as the others.
    """
    frequency = cell_frequencies()
    signal = _at(spectrum, frequency.square().sum(0).sqrt())
    gain = torch.ones_like(signal) if used is None else wiener(_gaussian(used.width, frequency), signal, used.noise)
    bias = (gain * _gaussian(true.width, frequency) - 1).square() * signal
    return float((bias + (gain.square() * true.noise.square() - own.square()).clamp(min=0)).mean())


def extend(image: Tensor, mask: Tensor) -> Tensor:
    """The image continued outside of its mask by averages of its nearest voxels, three voxels far."""
    values, known = image * mask, mask.to(image)
    for _ in range(3):
        total, count = _averaged(values * known, 3), _averaged(known, 3)
        values = torch.where(known > 0, values, total / count.clamp(min=1e-6))
        known = (count > 1e-6).to(image)
    return values


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
    """Of the image without its local mean (5 voxels wide), through a soft window of the inner brain."""
    inner = _eroded(mask)
    window = _averaged(_averaged(inner.to(image), 3), 3) * mask
    local = _averaged(image * mask, 5) / _averaged(mask.to(image), 5).clamp(min=1e-3)
    detail = _padded((image - local) * window)
    power = torch.fft.rfftn(detail).abs().square() / window.square().sum().clamp(min=1)
    cells = [(2 * CELLS * f.abs()).long().clamp(max=CELLS - 1).to(image.device) for f in _frequencies(detail.shape)]
    place = ((cells[0] * CELLS + cells[1]) * CELLS + cells[2]).flatten()
    total = torch.zeros(CELLS**3).to(image).index_add(0, place, power.flatten())
    level = image[inner].mean().clamp(min=1e-6) if inner.any() else torch.ones(()).to(image)
    mean = total / place.bincount(minlength=CELLS**3).clamp(min=1) / level.square()
    return Texture(mean.clamp(min=1e-10).log(), level)


def cell_frequencies() -> Tensor:
    """(3, 512) the middle of each cell of `Texture.power` along each axis, cycles per voxel."""
    middle = (torch.arange(CELLS) + 0.5) / (2 * CELLS)
    return torch.stack(torch.meshgrid(middle, middle, middle, indexing="ij")).flatten(1)


def _averaged(image: Tensor, size: int) -> Tensor:
    """Means over cubes of an odd size, nothing beyond the ends: axis by axis, a third of the time of a pooling."""
    for axis in range(3):
        lines = F.pad(image.movedim(axis, 0), (0, 0, 0, 0, size // 2, size // 2))
        length = image.shape[axis]
        image = (torch.as_tensor(sum(lines[k : k + length] for k in range(size))) / size).movedim(0, axis)
    return image


def _eroded(mask: Tensor) -> Tensor:
    outside, size = F.pad((~mask).float()[None, None], (RIM,) * 6, value=1.0), 2 * RIM + 1
    for along in ((size, 1, 1), (1, size, 1), (1, 1, size)):  # axis by axis, a cube is as quick as its sides
        outside = F.max_pool3d(outside, along, 1)
    return outside[0, 0] == 0


def _convolve(image: Tensor, width: Tensor) -> Tensor:
    padded = _padded(image)
    out = torch.fft.irfftn(torch.fft.rfftn(padded) * _transfer(padded.shape, width), s=padded.shape)
    return _cropped(out, image.shape)


def _transfer(shape: torch.Size, width: Tensor) -> Tensor:
    """exp(-2 pi^2 |width f|^2) at the frequencies of rfftn."""
    return _gaussian(width, [f.to(width.device) for f in _frequencies(shape)])


def _gaussian(width: Tensor, frequency: Sequence[Tensor] | Tensor) -> Tensor:
    total = sum((width[axis] * f).square() for axis, f in enumerate(frequency))
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
    more = [next_fast_len(n + 2 * PADDING, real=True) - n for n in image.shape]
    return F.pad(image, [edge for n in reversed(more) for edge in (0, n)])


def _cropped(padded: Tensor, shape: torch.Size) -> Tensor:
    return padded[: shape[0], : shape[1], : shape[2]]
