"""SSIMH, spectrum swapping (Guan et al. 2022): low-frequency amplitudes from the reference, phase from the query."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony.core import Harmonized, Stack
from harmony.core.reference import Reference
from harmony.methods.base import Method


class Ssimh(Method):
    """x_h = F^-1(|F(r)| e^(i arg F(x))) at frequencies below `cutoff`, F(x) above it; 0 outside the brain.

    r is the mean reference slice at the same position, inside the query's own mask: the amplitudes then differ by
    contrast and shading, and not by the shape of the head.
    cutoff: cycles per image, radial. 0 changes nothing; up to 1 it is the mean of the slice that is replaced.
    """

    def __init__(self, *, reference: Reference, cutoff: float) -> None:
        self.reference, self.cutoff = reference, cutoff

    def harmonize(self, stack: Stack) -> Harmonized:
        mean = self.reference.start(stack.position, stack.image.shape[2:]).to(stack.image)
        swapped = swap_amplitude(stack.image, torch.where(stack.mask, mean, 0), self.cutoff)
        return Harmonized(torch.where(stack.mask, swapped, 0).clamp(0, 1))


def swap_amplitude(image: Tensor, reference: Tensor, cutoff: float) -> Tensor:
    """(B, 1, H, W) with the phase of `image`, and the amplitude of `reference` where |frequency| < cutoff."""
    height, width = image.shape[-2:]
    rows, columns = height * torch.fft.fftfreq(height), width * torch.fft.rfftfreq(width)
    low = (torch.hypot(rows[:, None], columns) < cutoff).to(image.device)
    spectrum = torch.fft.rfft2(image)
    amplitude = torch.where(low, torch.fft.rfft2(reference).abs(), spectrum.abs())
    return torch.fft.irfft2(torch.polar(amplitude, spectrum.angle()), s=(height, width))
