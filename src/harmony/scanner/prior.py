"""What is known of the reference scanner before a scan is seen, and how a scan is read with it. Learned once, kept."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from harmony.scanner.contrast import FIELD_TERMS, Contrast, TissueIntensity
from harmony.scanner.resolution import Resolution, Texture, cell_frequencies, predicted_error

COARSE = 0.35  # cycles per voxel: below it detail stands above any noise floor, and a wrong model of the blur shows
LEAST = 0.14  # cycles per voxel: coarser detail is anatomy and contrast more than it is blur or noise
CONTRAST, TILT = 0.2, 0.6  # deviations of the log power that contrast adds to all scales, and more to coarse than fine
INDEPENDENT = 100  # so many cells of the power do they all count as: neighbours know the same
DOUBT = 0.05  # of the log power of a cell, beside what it varies from brain to brain
STARTS = (0.02, 0.6)  # squared widths, voxels: the fit has a second minimum in which blur is called contrast
MOST = 4.0  # squared width
SOME = 0.9  # of scanners that leave a trace, that have gains, and as many a shading; chosen on validation subjects


class Read(NamedTuple):
    """As read, also where there is none. width: () of the mean squared widths, negative for a scan sharper than the
    reference; widths: (3,); noise: (). misfit: root mean square of what they leave unexplained, in deviations of
    reference scans: ringing and thick slices are no Gaussian blur."""

    width: Tensor
    widths: Tensor
    noise: Tensor
    misfit: float


@dataclass(frozen=True)
class Reading:
    """How texture says blur and noise, by what untouched reference scans have.

    power, deviation: (512,) mean and deviation of their log power in the cells of `Texture`. sharp, quiet: (), the
    largest width and noise that is read from any of them: only what is more than that is the scanner's.
    """

    power: Tensor
    deviation: Tensor
    sharp: Tensor
    quiet: Tensor

    def resolution(self, read: Read, spectrum: Tensor) -> Resolution:
        """What is to be undone of what was read: along some axes the blur beyond an untouched scan's (variances of
        blurs add up, and too little does no harm), and the noise, which the filter of a blur always knows. Or nothing.

        Of these nine the one of the least predicted error, where what was read is as likely true as what is left of it
        without the most that untouched scans show.
        """
        width = (read.widths.square() - self.sharp.square()).clamp(min=0).sqrt() * (read.widths > 0)
        less = (read.noise.square() - self.quiet.square()).clamp(min=0).sqrt()
        truths = Resolution(read.widths.clamp(min=0), read.noise), Resolution(width, less)
        axes = [torch.tensor(some, dtype=width.dtype) for some in itertools.product((0, 1), repeat=3)]
        filters = [Resolution(width * some, read.noise) for some in axes]

        def error(used: Resolution | None) -> float:
            return sum(predicted_error(used, true, spectrum) for true in truths)

        best = min(filters, key=error)
        nothing = Resolution(torch.zeros_like(width), torch.zeros_like(read.noise))
        return best if error(best) < error(None) else nothing

    def read(self, texture: Texture) -> Read:
        """Robust least squares of the log power: log(S A exp(-4 pi^2 sum s_a^2 f_a^2) + N), from two starts.

        S is the reference's; A = a + b (1 - f / f_max) what contrast does to the power of detail, near 1; s the width
        along each axis, N the variance of noise over the squared level.
        """
        power, mean = (x.double().cpu().numpy() for x in (texture.power, self.power))
        frequency = cell_frequencies().double().numpy()
        size = np.sqrt((frequency**2).sum(0))
        tilt, fine = 1 - size / size.max(), size > LEAST
        doubt = np.sqrt(self.deviation.double().cpu().numpy() ** 2 + DOUBT**2)
        weight = math.sqrt(INDEPENDENT / fine.sum())

        def unexplained(x: np.ndarray) -> np.ndarray:
            blurred = mean + x[0] + x[1] * tilt - 4 * math.pi**2 * x[2:5] @ frequency**2
            return (power - np.logaddexp(blurred, x[5])) / doubt

        def residual(x: np.ndarray) -> np.ndarray:
            return np.concatenate([weight * unexplained(x)[fine], [x[0] / CONTRAST, x[1] / TILT]])

        quiet = float(np.clip(power.min() - 0.3, -13.9, -0.1))
        bounds = [-3, -3, -0.3, -0.3, -0.3, -14], [3, 3, MOST, MOST, MOST, 0]
        fits = [least_squares(residual, [0, 0, s, s, s, quiet], bounds=bounds, loss="soft_l1") for s in STARTS]
        least = min(fits, key=lambda fit: fit.cost)
        best = torch.from_numpy(least.x).to(texture.power)
        squared = torch.cat((best[2:5].mean()[None], best[2:5]))
        widths = squared.sign() * squared.abs().sqrt()
        misfit = float(np.sqrt(np.mean(unexplained(least.x)[fine & (size < COARSE)] ** 2)))
        return Read(widths[0], widths[1:], (best[5] / 2).exp() * texture.level, misfit)


@dataclass(frozen=True)
class Untouched:
    """What untouched reference scans show: (D,) mean and (D, D) inverse covariance of `evidence` of a fit, and the
    squared distance that they do not exceed."""

    mean: Tensor
    precision: Tensor
    limit: Tensor

    def distance(self, evidence: Tensor) -> float:
        """Squared distance over the limit: 1 and below is what reference scans look like."""
        off = evidence - self.mean
        return float(off @ self.precision @ off / self.limit)


class Shrunk(NamedTuple):
    """contrast: the part of a fit that is the scanner's. deviation: (22,) of it. gains, shading: how likely it is that
    the scanner has any, 0 to 1."""

    contrast: Contrast
    deviation: Tensor
    gains: float
    shading: float


@dataclass(frozen=True)
class Prior:
    """expected: the tissues' intensities. spectrum: mean power. reading: texture to blur and noise.

    own, own_covariance: (22,) and (22, 22), the gains and shading that a fit finds in untouched reference scans: the
    subject's own. scanners: (22,) variance of those of scanners that have any. raw, matched: what untouched scans show
    as they are, and after histogram matching.
    """

    expected: TissueIntensity
    spectrum: Tensor
    reading: Reading
    own: Tensor
    own_covariance: Tensor
    scanners: Tensor
    raw: Untouched
    matched: Untouched

    def shrunk(self, contrast: Contrast) -> Shrunk:
        """The posterior mean of what the scanner did, which has gains or not, and a shading or not, `SOME` likely each:
        sum_h P(h | theta) A_h (theta - mu), A_h = S_h (S_h + S0)^-1, with S_h the variances of those that
        hypothesis h has, P(h | theta) ~ P(h) N(theta; mu, S_h + S0)."""
        off, own = (contrast.theta - self.own).double(), self.own_covariance.double()
        is_gain = torch.arange(len(off), device=off.device) < len(off) - FIELD_TERMS
        has = [(gains, shading) for gains in (False, True) for shading in (False, True)]
        fit, means, seconds = [], [], []
        for gains, shading in has:
            scanners = torch.diag(self.scanners.double() * torch.where(is_gain, gains, shading))
            whole = scanners + own
            explained = torch.linalg.solve(whole, off)
            mean = scanners @ explained
            before = sum(math.log(SOME if any_ else 1 - SOME) for any_ in (gains, shading))
            fit.append(before - (torch.logdet(whole) + off @ explained) / 2)
            means.append(mean)
            seconds.append((scanners @ torch.linalg.solve(whole, own)).diagonal() + mean.square())
        weight = torch.stack(fit).softmax(0)
        mean, second = (weight @ torch.stack(each) for each in (means, seconds))
        deviation = (second - mean.square()).clamp(min=0).sqrt()
        likely = weight @ torch.tensor(has).to(weight)
        return Shrunk(Contrast.of(mean.float()), deviation.float(), float(likely[0]), float(likely[1]))

    def likely(self, contrast: Contrast) -> float:
        """Mean squared size of a fit, in deviations of scanners and subjects together: 1 is usual where there are both
        gains and a shading."""
        off = contrast.theta - self.own
        return float(off @ torch.linalg.solve(torch.diag(self.scanners) + self.own_covariance, off) / len(off))
