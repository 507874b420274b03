"""Random scanners for whole volumes: curve, tissue contrast, shading, blur in three dimensions, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from harmony.core.measures import DARKEST, FWHM_PER_SIGMA, robust_maximum
from harmony.data.simulation.coils import Coils
from harmony.data.simulation.corruption import monotone_table
from harmony.scanner import (
    FIELD_TERMS,
    Box,
    Resolution,
    brain_box,
    field_scale,
    gaussian_inside,
    rough_field,
    scanner_variance,
    smooth,
)

BORDER = 1.5 / FWHM_PER_SIGMA  # mm: tissue maps are smoothed by it before they are given gains
COARSE_STEP = 3  # voxels: of every third alone the robust maximum of a whole volume is taken
COILED = 0.5  # share of scans with the shading of coils, where there is any
DYADIC_LEVELS, MIDDLE = 5, 0.6  # of the monotone table: as arXiv 2301.11551 draws it, coarser


@dataclass(frozen=True)
class DrawnScanner:
    """gamma: exponent of the curve, 1 for none; table: (33,) the curve after it. log_gains: (K,). field: (19,), of the
    cubic in the brain box. resolution: blur in voxels, Rician sigma of the robust maximum. seed: of the noise. coils:
    their shading, or None."""

    gamma: float
    table: Tensor
    log_gains: Tensor
    field: Tensor
    resolution: Resolution
    seed: int
    coils: Coils | None = None


class Replayed(NamedTuple):
    """image: (S, H, W) as that scanner makes it; its blur and noise; top: the intensity that became 1."""

    image: Tensor
    resolution: Resolution
    top: float


class ScannerCorruption:
    """A whole volume as a random scanner would have made it; drawn, kept and replayed exactly.

        x <- table(x ** gamma)               with probability `curve`: U(*gamma) in log, or as often a random table
        x <- x sum_k p_k exp(g_k)            g_k normal, of a deviation from U(0, gain)
        x <- x exp(b(r))                     b a cubic in the brain box, of a deviation from U(0, shading)
        x <- x s(r)                          s of surface coils, from U(0, coils) the log of its brightest over darkest
        x <- Gaussian blur inside the brain  width from U(0, blur) voxels, each axis times exp(N(0, anisotropy))
        x <- |x + sigma n|, n complex        sigma from U(0, noise)
        x <- x / its percentile, clipped     as preprocessing would scale such a scan: over that of x before all this

    Gains, shading, blur and noise happen with probability `probability` each, coils in half of the scans if at all.
    """

    def __init__(
        self,
        *,
        curve: float,
        gamma: tuple[float, float],
        gain: float,
        shading: float,
        blur: float,
        anisotropy: float,
        noise: float,
        probability: float,
        percentile: float,
        coils: float = 0.0,
    ) -> None:
        self.curve, self.gamma, self.gain, self.shading = curve, gamma, gain, shading
        self.blur, self.anisotropy, self.noise = blur, anisotropy, noise
        self.probability, self.percentile, self.coils = probability, percentile, coils

    def draw(self, tissues: int, generator: Generator) -> DrawnScanner:
        def uniform(low: float = 0.0, high: float = 1.0) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        def strength(largest: float) -> float:
            happens, amount = uniform() < self.probability, uniform(0, largest)
            return amount if happens else 0.0

        def normal(count: int) -> Tensor:
            return torch.randn(count, generator=generator)

        bent, tabled = uniform() < self.curve, uniform() < 0.5
        gamma = math.exp(uniform(*(math.log(g) for g in self.gamma)))
        table = monotone_table(1, DYADIC_LEVELS, MIDDLE, generator)[0]
        straight = torch.linspace(0, 1, len(table))
        width = strength(self.blur) * (self.anisotropy * normal(3)).exp()
        drawn = DrawnScanner(
            gamma=gamma if bent and not tabled else 1.0,
            table=table if bent and tabled else straight,
            log_gains=strength(self.gain) * normal(tissues),
            field=strength(self.shading) * normal(FIELD_TERMS),
            resolution=Resolution(width, torch.tensor(strength(self.noise))),
            seed=int(torch.randint(2**31, (), generator=generator)),
        )
        if self.coils > 0 and uniform() < COILED:
            drawn = replace(drawn, coils=Coils.draw(self.coils, generator))
        return drawn

    def variance(self, tissues: int) -> Tensor:
        """(K + 19,) of log gains and shading, where a scanner has any: what a prior expects of scanners."""
        return scanner_variance(tissues, gain=self.gain, shading=self.shading)

    def replay(
        self,
        image: Tensor,
        mask: Tensor,
        maps: Tensor,
        drawn: DrawnScanner,
        spacing: float,
        part: slice = slice(None),
    ) -> Replayed:
        """(S, H, W) image in [0, 1], mask, (K, S, H, W) tissue maps of a volume; part: the slices of it that are made;
        spacing: voxel side in mm -> the scan, its blur and noise, the latter in units of that scan, and what it was
        divided by."""
        box = brain_box(mask)
        some = (slice(None, None, COARSE_STEP),) * 3
        axes = box[0][::COARSE_STEP], box[1][::COARSE_STEP], box[2][::COARSE_STEP]
        coarse = image[some], mask[some], maps[:, *some], axes
        own = image[part], mask[part], maps[:, part], (box[0][part], *box[1:])
        level = self._brightest(coarse[1], self._contrasted(*coarse, drawn, COARSE_STEP * spacing), image[some])
        inside, sharp = own[1], self._contrasted(*own, drawn, spacing)
        x = gaussian_inside(sharp, inside, drawn.resolution.width)
        if drawn.resolution.noise > 0:
            noise = torch.randn((2, *x.shape), generator=Generator().manual_seed(drawn.seed)) * drawn.resolution.noise
            x = torch.hypot(x + noise[0], noise[1])
        top = max(level * self._brightest(inside, x, sharp), DARKEST)
        resolution = replace(drawn.resolution, noise=drawn.resolution.noise / top)
        return Replayed(torch.where(inside, x / top, 0).clamp(0, 1), resolution, top)

    def rough_field(self, image: Tensor, mask: Tensor, maps: Tensor, drawn: DrawnScanner, spacing: float) -> Tensor:
        """(S, H, W) `scanner.rough_field` of what that scanner makes, before it is divided by anything: blur and noise
        are nothing to it."""
        box, some = brain_box(mask), (slice(COARSE_STEP // 2, None, COARSE_STEP),) * 3
        middle = box[0][some[0]], box[1][some[1]], box[2][some[2]]
        scan = self._contrasted(image[some], mask[some], maps[:, *some], middle, drawn, COARSE_STEP * spacing)
        return rough_field(scan, mask[some], COARSE_STEP * spacing, mask.shape)

    def _brightest(self, mask: Tensor, after: Tensor, before: Tensor) -> float:
        """Robust maximum over robust maximum; 1 where there is no brain."""
        new, old = (robust_maximum(each, mask, self.percentile) for each in (after, before))
        return new / max(old, DARKEST) if mask.any() else 1.0

    def _contrasted(
        self, image: Tensor, mask: Tensor, maps: Tensor, box: Box, drawn: DrawnScanner, spacing: float
    ) -> Tensor:
        x = _interpolated(image**drawn.gamma, drawn.table)
        if drawn.log_gains.any():
            gain = torch.einsum(
                "k,kshw->shw", drawn.log_gains.exp() - 1, maps
            )  # a blur is linear: once for all tissues
            x = x * (1 + gaussian_inside(gain, mask, torch.full((3,), BORDER / spacing)))
        if drawn.field.any():
            x = x * shading(box, drawn.field).exp()
        if drawn.coils is not None:
            x = x * drawn.coils.log_over(box).exp()
        return x


def shading(box: Box, field: Tensor) -> Tensor:
    """(S, H, W) the cubic without constant, each monomial over its own deviation in the brain box: no direction is
    favoured. Of deviation about |field| / sqrt(19)."""
    coefficients = field / field_scale() / math.sqrt(FIELD_TERMS)
    return smooth(torch.cat((torch.zeros(1), coefficients)), box)


def _interpolated(image: Tensor, table: Tensor) -> Tensor:
    place = image.clamp(0, 1) * (len(table) - 1)
    left = place.long().clamp(max=len(table) - 2)
    return torch.lerp(table[left], table[left + 1], place - left)
