"""How a scan is read: learned with a trained tissue network, on corrupted and on untouched reference volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from harmony.core import Volume
from harmony.core.reference import Reference
from harmony.data import ScannerCorruption, field_scale, watched
from harmony.networks import TissueNet
from harmony.scanner import FIELD_TERMS, Estimate, Reading, Texture, Untouched, estimate, texture

USUAL = 0.95  # share of untouched volumes that look untouched: the others are estimated, and changed little
DIAGONAL = 0.3  # share of a covariance's diagonal in place of the whole: some 50 scans do not tell 27 x 27 numbers


class Calibration:
    """Everything of `scanner.Prior` that untouched reference volumes say through the trained network.

    every: of the train volumes, how many are looked at. margin: factor on the largest width
    and noise of an untouched volume, and on the distance that 95 % of them do not exceed.
    """

    def __init__(self, *, every: int, margin: float) -> None:
        self.every, self.margin = every, margin

    def learn(
        self,
        network: TissueNet,
        corruption: ScannerCorruption,
        reference: Reference,
        train: Sequence[Volume],
        held_out: Sequence[Volume],
    ) -> None:
        """Fill the network's prior. held_out: reference volumes that nothing was trained on."""
        chosen = [*train[:: self.every], *held_out]
        textures = [texture(volume.image, volume.mask) for volume in watched(chosen, "textures")]
        prior = replace(network.prior, reading=reading_of(textures, self.margin))
        raw, matched = [], []
        for volume in watched(chosen, "untouched scans"):
            stack = volume.stack(torch.arange(len(volume.image)))
            raw.append(estimate(volume.image, volume.mask, network, prior))
            again = reference.match(stack)[:, 0]
            matched.append(estimate(again, volume.mask, network, prior))
        theta = torch.stack([each.fit.contrast.theta for each in raw])
        network.prior = replace(
            prior,
            own=theta.mean(0),
            own_covariance=covariance(theta),
            scanners=variance_of(corruption, network.tissues),
            raw=untouched(raw, self.margin),
            matched=untouched(matched, self.margin),
        )


def reading_of(textures: Sequence[Texture], margin: float) -> Reading:
    """Mean and deviation of the log power, and `margin` times the largest width and noise that the volumes show."""
    power = torch.stack([each.power for each in textures])
    reading = Reading(power.mean(0), power.std(0), torch.zeros(()), torch.zeros(()))
    found = [reading.read(each) for each in textures]
    sharp, quiet = (
        margin * torch.stack(values).max() for values in ([r.width for r in found], [r.noise for r in found])
    )
    return replace(reading, sharp=sharp.clamp(min=0), quiet=quiet)


def untouched(found: Sequence[Estimate], margin: float) -> Untouched:
    """Each volume's distance is from the mean and covariance of the others: what a new scan's is to be held against.
    (Among some 50 volumes a distance in 27 numbers that counts the volume itself is far too small.) One odd volume in
    twenty does not set the limit: it would let every shading pass.
    """
    evidence = torch.stack([each.evidence for each in found])
    others = [torch.cat((evidence[:n], evidence[n + 1 :])) for n in range(len(evidence))]
    far = torch.stack([distance_from(rest, own) for rest, own in zip(others, evidence, strict=True)])
    mean, precision = evidence.mean(0), torch.linalg.inv(covariance(evidence))
    return Untouched(mean, precision, margin * far.quantile(USUAL))


def distance_from(rows: Tensor, own: Tensor) -> Tensor:
    """Squared distance of (D,) from the mean of the (N, D) rows by their covariance."""
    off = own - rows.mean(0)
    return off @ torch.linalg.solve(covariance(rows), off)


def covariance(samples: Tensor) -> Tensor:
    """Of the rows, partly its diagonal alone."""
    whole = torch.cov(samples.T)
    return torch.lerp(whole, torch.diag(whole.diagonal()), DIAGONAL) + 1e-8 * torch.eye(len(whole))


def variance_of(corruption: ScannerCorruption, tissues: int) -> Tensor:
    """(22,) mean square of log gains and of the shading's coefficients where there are any: E U(0, a)^2 = a^2 / 3."""
    gains = torch.full((tissues,), corruption.gain**2 / 3)
    field = corruption.shading**2 / 3 / FIELD_TERMS / field_scale().square()
    return torch.cat((gains, field))
