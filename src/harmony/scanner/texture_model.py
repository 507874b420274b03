"""How the texture of a scan says blur and noise, by what untouched reference scans have."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from harmony.scanner.resolution import Resolution, Texture, cell_frequencies, predicted_error

LOWEST = 0.14  # cycles per voxel: coarser detail is anatomy and contrast more than it is blur or noise
CLEAR = 0.35  # cycles per voxel: below it detail stands above any noise floor, and a wrong model of the blur shows
CONTRAST, TILT = 0.2, 0.6  # deviations of the log power that contrast adds to all scales, and more to coarse than fine
INDEPENDENT = 100  # so many cells of the power do they all count as: neighbours know the same
EXPLAINED = 0.6  # deviations of reference scans: more is another anatomy (real scanners 0.2 to 0.5, an atlas 0.7)
DOUBT = 0.05  # of the log power of a cell, beside what it varies from brain to brain
STARTS = (0.02, 0.6)  # squared widths, voxels^2: the fit has a second minimum in which blur is called contrast
SHARPER, LARGEST = 0.3, 4.0  # squared widths, voxels^2: below the reference's at first, and at most either way


Widths = tuple[float, float, float]  # Gaussian sigmas in voxels along slices, rows, columns
UNBLURRED: Widths = (0.0, 0.0, 0.0)
NONE = torch.zeros(())


class TextureFit(NamedTuple):
    """What a fit finds, also where there is no blur or noise. widths: (3,) voxels, negative along an axis on which the
    scan is sharper than the reference; width: () of their mean square; noise: (). misfit: root mean square of what they
    leave unexplained, in deviations of reference scans: ringing and thick slices are no Gaussian blur. own: () the
    noise that reference scans have, in the unit of this one."""

    width: Tensor
    widths: Tensor
    noise: Tensor
    misfit: float
    own: Tensor = NONE

    @property
    def more_noise(self) -> Tensor:
        """() than reference scans have; variances add up."""
        return (self.noise.square() - self.own.square()).clamp(min=0).sqrt()

    def without(self, widths: Widths) -> TextureFit:
        """Less a blur that is known, and no scanner's: variances add up."""
        squared = self.widths.abs() * self.widths - torch.tensor(widths).to(self.widths).square()
        every = torch.cat((squared.mean()[None], squared))
        signed = every.sign() * every.abs().sqrt()
        return self._replace(width=signed[0], widths=signed[1:])


class _Least(NamedTuple):
    """x: a, b, the three s^2, log N of a fit. detail: (512,) log S A exp(...) at it. misfit: see `TextureFit`."""

    x: np.ndarray
    detail: np.ndarray
    misfit: float


@dataclass(frozen=True)
class TextureModel:
    """The texture of untouched reference scans.

    power, deviation: (512,) mean and deviation of their log power in the cells of `Texture`. sharp, quiet: (), the
    largest width, and noise beyond `floor`, that a fit finds in any of them: only what is more than that is the
    scanner's. floor: () power of the noise that they all have, which `power` is without; 0: it is not known apart.
    sharpest: () the largest width by which any of them is sharper than their mean.
    """

    power: Tensor
    deviation: Tensor
    sharp: Tensor
    quiet: Tensor
    floor: Tensor = NONE
    sharpest: Tensor = NONE

    def resolution(self, fit: TextureFit, spectrum: Tensor) -> Resolution:
        """What is to be undone of a fit: along some axes the blur beyond an untouched scan's (variances of blurs add
        up, and too little does no harm), and the noise, which the filter of a blur always knows. Or nothing.

        Of these nine the one of the least predicted error, where the fit is as likely true as what is left of it
        without the most that untouched scans show. Noise that reference scans have is no error, unless a filter
        amplifies it.
        """
        width = (fit.widths.square() - self.sharp.square()).clamp(min=0).sqrt() * (fit.widths > 0)
        less = (fit.more_noise.square() - self.quiet.square()).clamp(min=0)
        least = (less + torch.minimum(fit.noise, fit.own).square()).sqrt()
        truths = Resolution(fit.widths.clamp(min=0), fit.noise), Resolution(width, least)
        axes = [torch.tensor(some, dtype=width.dtype) for some in itertools.product((0, 1), repeat=3)]
        filters = [Resolution(width * some, fit.noise if some.any() else fit.more_noise) for some in axes]

        def error(used: Resolution | None) -> float:
            return sum(predicted_error(used, true, spectrum, fit.own) for true in truths)

        best = min(filters, key=error)
        nothing = Resolution(torch.zeros_like(width), torch.zeros_like(fit.noise))
        return best if error(best) < error(None) else nothing

    def softening(self, fit: TextureFit) -> Tensor:
        """(3,) widths that blur a scan as the reference is: by which it is sharper along each axis, where it is so on
        the whole by more than any untouched scan; 0 else. Of a fit whose known blur was not taken off."""
        return torch.where(-fit.width > torch.maximum(self.sharp, self.sharpest), -fit.widths, 0).clamp(min=0)

    def fit(self, texture: Texture) -> TextureFit:
        """Robust least squares of the log power: log(S A exp(-4 pi^2 sum s_a^2 f_a^2) + N), from two starts.

        S is the reference's; A = a + b (1 - f / f_max) what contrast does to the power of detail, near 1; s the width
        along each axis, N the variance of noise over the squared level. s^2 is below 0 for a scan that is sharper; a
        first search ends there early, as it is rare, and noise of a scan that is none looks like it.
        """
        least = self._least(texture)
        best = torch.from_numpy(least.x).to(texture.power)
        squared = torch.cat((best[2:5].mean()[None], best[2:5]))
        widths = squared.sign() * squared.abs().sqrt()
        noise, own = (best[5] / 2).exp() * texture.level, self.floor.sqrt() * texture.level
        return TextureFit(widths[0], widths[1:], noise, least.misfit, own)

    def apart(self, texture: Texture) -> tuple[Tensor, Tensor]:
        """(512,) log power of a scan without its noise, and () the power of that. Where detail is less than the noise,
        it is the fit's, not what the noise leaves of it. All of it and 0 where the fit does not explain the scan."""
        least = self._least(texture)
        if least.misfit > EXPLAINED:
            return texture.power, NONE
        floor, power = math.exp(least.x[5]), texture.power.exp()
        detail = torch.from_numpy(least.detail).to(power)
        return torch.where(power > 2 * floor, (power - floor).clamp(min=1e-10).log(), detail), torch.tensor(floor)

    def _least(self, texture: Texture) -> _Least:
        power, mean = (x.double().cpu().numpy() for x in (texture.power, self.power))
        frequency = cell_frequencies().double().numpy()
        size = np.sqrt((frequency**2).sum(0))
        tilt, fine = 1 - size / size.max(), size > LOWEST
        doubt = np.sqrt(self.deviation.double().cpu().numpy() ** 2 + DOUBT**2)
        weight = math.sqrt(INDEPENDENT / fine.sum())

        def detail(x: np.ndarray) -> np.ndarray:
            return mean + x[0] + x[1] * tilt - 4 * math.pi**2 * x[2:5] @ frequency**2

        def unexplained(x: np.ndarray) -> np.ndarray:
            return (power - np.logaddexp(detail(x), x[5])) / doubt

        def residual(x: np.ndarray) -> np.ndarray:
            return np.concatenate([weight * unexplained(x)[fine], [x[0] / CONTRAST, x[1] / TILT]])

        quiet = float(np.clip(power.min() - 0.3, -13.9, -0.1))

        def search(start: float, sharper: float) -> Any:
            bounds = [-3, -3, *[-sharper] * 3, -14], [3, 3, *[LARGEST] * 3, 0]
            return least_squares(residual, [0, 0, *[start] * 3, quiet], bounds=bounds, loss="soft_l1")

        least = min((search(start, SHARPER) for start in STARTS), key=lambda fit: fit.cost)
        if least.x[2:5].min() < -0.99 * SHARPER:  # it is sharper than that
            least = min(least, search(-SHARPER, LARGEST), key=lambda fit: fit.cost)
        misfit = float(np.sqrt(np.mean(unexplained(least.x)[fine & (size < CLEAR)] ** 2)))
        return _Least(least.x, detail(least.x), misfit)
