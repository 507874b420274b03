"""A scanner drawn at random: any number of families at once, each as strong as chance will have it.

The simulators are those of the evaluation (`shifts`, `shifts_unseen`), not those of training (`scanner_corruption`): a
method is not scored by the program that it learned from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harmony.core import Volume
from harmony.data.simulation.shifts import FIELDS
from harmony.data.simulation.shifts_unseen import coil_shaded

PIECES = 8  # of the random curve

Amount = float | np.ndarray  # (3,) of a blur: along each array axis
Shift = Callable[[Tensor, Volume, Any, np.random.Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """The most of each family; amounts are uniform from none to it.

    curve: probability of a curve, which is as often a power x^g, log g within +-gamma, as a smooth random one, whose
    rises have logs of a deviation up to `table`. probability: of each of the others. tissue: deviation of the log
    gains of the three tissues. shading: deviation of the log shading in the brain, as often a cubic in space (`bias`)
    as the lobes of narrow coils (`coil`). blur: FWHM in mm, along each axis times exp(N(0, anisotropy)). noise: Rician
    sigma, of the robust maximum.
    """

    curve: float
    gamma: float
    table: float
    probability: float
    tissue: float
    shading: float
    blur: float
    anisotropy: float
    noise: float

    def __post_init__(self) -> None:
        if not 0 <= self.curve <= 1 or not 0 <= self.probability <= 1:
            raise ValueError(f"a probability is from 0 to 1: curve {self.curve}, probability {self.probability}")


def drawn_amounts(ranges: Ranges, rng: np.random.Generator) -> dict[str, Amount]:
    """Kind of `DRAWN` -> strength, of what happens, in the order of the imaging.

    As many numbers are drawn whatever happens: a family that is left out changes no other.
    """
    curve, contrast, shade, smooth, grain = rng.uniform(size=(5, 3))  # happens, which of two, how much
    axes = np.exp(ranges.anisotropy * rng.standard_normal(3))
    amounts: dict[str, Amount] = {}
    if curve[0] < ranges.curve:
        power = {"gamma": float(np.exp(ranges.gamma * (2 * curve[2] - 1)))}
        amounts |= power if curve[1] < 0.5 else {"table": ranges.table * curve[2]}
    if contrast[0] < ranges.probability:
        amounts["tissue"] = ranges.tissue * contrast[2]
    if shade[0] < ranges.probability:
        amounts["bias" if shade[1] < 0.5 else "coil"] = ranges.shading * shade[2]
    if smooth[0] < ranges.probability:
        amounts["blur"] = ranges.blur * smooth[2] * axes
    if grain[0] < ranges.probability:
        amounts["noise"] = ranges.noise * grain[2]
    return amounts


def power(image: Tensor, volume: Volume, exponent: float, rng: np.random.Generator) -> Tensor:
    return image**exponent


def random_curve(image: Tensor, volume: Volume, deviation: float, rng: np.random.Generator) -> Tensor:
    """A smooth monotone curve from 0 to 0 and 1 to 1, through points whose rises have logs of so large a deviation."""
    from scipy.interpolate import PchipInterpolator

    rises = np.exp(deviation * rng.standard_normal(PIECES))
    heights = np.concatenate(([0.0], rises.cumsum() / rises.sum()))
    curve = PchipInterpolator(np.linspace(0, 1, PIECES + 1), heights)
    return torch.from_numpy(curve(image.numpy()).astype(np.float32))


def of_deviation(shade: Shift) -> Shift:
    """The same shading, as strong as its log's deviation in the brain."""

    def shaded(image: Tensor, volume: Volume, deviation: float, rng: np.random.Generator) -> Tensor:
        field = shade(torch.ones_like(image), volume, 1.0, rng).log()
        return image * (field * (deviation / field[volume.mask].std())).exp()

    return shaded


DRAWN: dict[str, Shift] = {
    "gamma": power,
    "table": random_curve,
    "tissue": FIELDS["tissue"],
    "bias": of_deviation(FIELDS["bias"]),
    "coil": of_deviation(coil_shaded),
    "blur": FIELDS["blur"],
    "noise": FIELDS["noise"],
}
