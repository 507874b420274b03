"""What is known of a reference scanner, learned from some of its untouched scans through a network of tissue maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harmony.core import DataError, Volume, interrupts
from harmony.core.progress import watched
from harmony.core.reference import Reference
from harmony.scanner.even import even_scan
from harmony.scanner.inversion import Estimate, MapNetwork, estimate
from harmony.scanner.prior import Appearance, Prior, Untouched
from harmony.scanner.resolution import Texture, mean_spectrum, texture
from harmony.scanner.texture_model import TextureModel
from harmony.scanner.tissue_maps import Labelling, learn_intensity

USUAL = 0.95  # share of untouched volumes that look untouched: the others are estimated, and changed little
DIAGONAL = 0.3  # share of a covariance's diagonal in place of the whole: some 50 scans do not tell 27 x 27 numbers
KNOWN = 40  # scans that what is known of another scanner's covariances counts as
FEWEST = 3  # volumes: of two others a covariance can be taken


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a prior is learned.

    frequencies: bins of the mean spectrum. every: of the volumes, how many are estimated (1: all). margin: factor on
    the largest width and noise of an untouched volume, and on the distance that 95 % of them do not exceed. even_every:
    of the estimated ones, how many are made even, for the few numbers that are learned of it.
    """

    frequencies: int
    every: int
    margin: float
    even_every: int = 4

    @torch.no_grad()
    def learn(
        self,
        volumes: Sequence[Volume],
        held_out: Sequence[Volume],
        *,
        network: MapNetwork,
        labelling: Labelling,
        reference: Reference,
        tissues: Sequence[str],
        scanners: Tensor,
        known: Prior | None = None,
    ) -> Prior:
        """The prior of the scanner that these untouched volumes are of. Nothing of the network changes.

        held_out: further volumes of that scanner, which the network was not trained on; they are estimated with the
        others. network: of tissue maps, trained on whatever scanner, in eval mode. labelling: where the tissues of a
        volume are (`tissue_maps`). reference: the histograms of the same volumes, for those that are matched.
        tissues: the names of the network's channels. scanners: (K + 19,), see `scanner_variance`. known: of another
        scanner, through the same network: by what people differ there they differ here, more or less, and twenty scans
        alone hardly say it.
        Raises DataError for fewer than three volumes.
        """
        chosen = [*volumes[:: self.every], *held_out]
        if len(chosen) < FEWEST:
            raise DataError(f"{len(chosen)} scans of the reference scanner", cure=f"give at least {FEWEST}, better 20")
        textures = [texture(volume.image, volume.mask) for volume in watched(chosen, "textures")]
        appearance = Appearance(
            expected=learn_intensity(volumes, labelling, len(tissues)),
            spectrum=learn_spectrum(volumes, self.frequencies),
            texture=learn_texture(textures, self.margin, known.texture if known else None),
        )
        raw, matched = [], []
        for volume in watched(chosen, "untouched scans"):
            interrupts.check()
            again = reference.match(volume.stack(torch.arange(len(volume.image))))[:, 0]
            raw.append(estimate(volume.image, volume.mask, network, appearance))
            matched.append(estimate(again, volume.mask, network, appearance))
        even = torch.stack(
            [
                even_gains(volume, network, appearance)
                for volume in chosen[:: min(self.even_every, len(chosen) // FEWEST)]
            ]
        )
        theta = torch.stack([scan.fit.contrast.theta for scan in raw])
        return Prior(
            **vars(appearance),
            tissues=tuple(tissues),
            own=theta.mean(0),
            own_covariance=covariance(theta, known.own_covariance if known else None),
            scanners=scanners,
            raw=learn_untouched(raw, self.margin, known.raw if known else None),
            matched=learn_untouched(matched, self.margin, known.matched if known else None),
            even=even.mean(0),
            even_covariance=covariance(even, known.even_covariance if known else None),
        )


def even_gains(volume: Volume, network: MapNetwork, appearance: Appearance) -> Tensor:
    """(K,) log gains of an untouched scan once it is even, relative to the last tissue's."""
    interrupts.check()
    spacing = volume.stack(torch.arange(len(volume.image))).side
    return even_scan(volume.image, volume.image, volume.mask, network, appearance.expected, spacing).log_gains


def learn_spectrum(volumes: Sequence[Volume], frequencies: int) -> Tensor:
    """(frequencies,) geometric mean of the volumes' mean spectra."""
    logs = [mean_spectrum(volume.image, volume.mask, frequencies).log() for volume in volumes]
    return torch.stack(logs).mean(0).exp()


def learn_texture(textures: Sequence[Texture], margin: float, known: TextureModel | None = None) -> TextureModel:
    """Mean and deviation of the log power, and `margin` times the largest width and noise that the volumes show.

    known: of another scanner. By it the noise that the volumes have all is told from their detail: else a scan with
    less would look blurred.
    """
    power = torch.stack([scan.power for scan in textures])
    mean, floor = power.mean(0), torch.zeros(())
    if known is not None:
        mean, floor = known.apart(Texture(mean, torch.ones(())))
    model = TextureModel(mean, power.std(0), torch.zeros(()), torch.zeros(()), floor)
    fits = [model.fit(scan) for scan in textures]
    widths = margin * torch.stack([fit.width for fit in fits])
    quiet = margin * torch.stack([fit.more_noise for fit in fits]).max()
    return replace(model, sharp=widths.max().clamp(min=0), quiet=quiet, sharpest=(-widths).max().clamp(min=0))


def learn_untouched(scans: Sequence[Estimate], margin: float, known: Untouched | None = None) -> Untouched:
    """Each volume's distance is from the mean and covariance of the others: what a new scan's is to be held against.
    (Among some 50 volumes a distance in 27 numbers that counts the volume itself is far too small.) One odd volume in
    twenty does not set the limit: it would let every shading pass.
    """
    evidence = torch.stack([scan.evidence for scan in scans])
    usual = None if known is None else torch.linalg.inv(known.precision)
    others = [torch.cat((evidence[:n], evidence[n + 1 :])) for n in range(len(evidence))]
    far = torch.stack([distance_from(rest, own, usual) for rest, own in zip(others, evidence, strict=True)])
    mean, precision = evidence.mean(0), torch.linalg.inv(covariance(evidence, usual))
    return Untouched(mean, precision, margin * far.quantile(USUAL))


def distance_from(rows: Tensor, own: Tensor, usual: Tensor | None = None) -> Tensor:
    """Squared distance of (D,) from the mean of the (N, D) rows by their covariance."""
    off = own - rows.mean(0)
    return off @ torch.linalg.solve(covariance(rows, usual), off)


def covariance(samples: Tensor, usual: Tensor | None = None) -> Tensor:
    """Of the (N, D) rows: (N S + KNOWN c U) / (N + KNOWN), S theirs and U the usual one, c the median ratio of their
    variances: people may differ less here, but differ alike. Where none is known, partly S's diagonal alone."""
    whole, count = torch.cov(samples.T), len(samples)
    if usual is None:
        shrunk = torch.lerp(whole, torch.diag(whole.diagonal()), DIAGONAL)
    else:
        ratio = (whole.diagonal() / usual.diagonal()).quantile(0.5)
        shrunk = torch.lerp(whole, ratio * usual, KNOWN / (count + KNOWN))
    return shrunk + 1e-8 * torch.eye(len(whole))
