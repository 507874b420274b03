"""The tissue network of scanner inversion: which tissue is where, and what is left when the scanner is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Generator, Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from torch.optim import Optimizer

from harmony.core import DataError, Volume
from harmony.data import ScannerCorruption
from harmony.networks import TissueNet
from harmony.scanner import (
    FIELD_TERMS,
    Contrast,
    Resolution,
    TissueIntensity,
    brain_box,
    cubic,
    deblur,
    evidence_of,
    fit_contrast,
    intensity_clusters,
    mean_spectrum,
    places,
)
from harmony.tasks.judges import falling

Batch = dict[str, Tensor]
EVERY = 13  # of the voxels that a scanner is fitted to in training: the fit has 22 numbers


class TissueTask(lightning.LightningModule):
    """Cross-entropy of the tissue maps, and `restoring` times the squared error of the restored volume.

    A step corrupts one reference volume (`corruption`, drawn from (seed, step); in validation from the volume's number),
    deblurs it with nearly the true blur and noise, and shows it to the network in one of two ways: with nothing known
    of the scanner (probability `blind`), or with gains and shading fitted to the true maps, each off by a draw of
    deviation `doubt`. Then also the restored volume sum_k p_k y / gain_k + correction is compared with the truth.

    clusters: the targets are clusters of the reference's own intensities, as where there are no tissue labels.
    slab: slices of the volume that the network sees in a training step. spacing: voxel side, mm.
    """

    monitor = "tissue/val_loss"
    keeps = "last"  # the rate has fallen to 0 by then

    def __init__(
        self,
        *,
        network: TissueNet,
        corruption: ScannerCorruption,
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
        max_steps: int,
        blind: float,
        doubt: float,
        restoring: float,
        slab: int,
        spacing: float,
        clusters: bool,
        mirror: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.network, self.corruption, self.optimizer = network, corruption, optimizer
        self.max_steps, self.blind, self.doubt, self.restoring = max_steps, blind, doubt, restoring
        self.slab, self.spacing, self.clusters, self.mirror, self.seed = slab, spacing, clusters, mirror, seed

    def on_fit_start(self) -> None:
        """What is learned without a gradient: mean intensities of the tissues, and the spectrum."""
        volumes = self.trainer.datamodule.volumes("train")  # type: ignore[attr-defined]
        learn_reference(self.network, volumes, clusters=self.clusters)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        draw = Generator().manual_seed(self.seed * 1_000_003 + self.global_step)
        turned = self.mirror and bool(torch.rand((), generator=draw) < 0.5)
        loss, restored = self.loss(batch, draw, turned=turned, slab=self.slab)
        self.log("tissue/train_loss", loss, prog_bar=True, batch_size=1)
        return loss + self.restoring * restored

    def validation_step(self, batch: Batch, index: int) -> None:
        for blind, name in ((1.0, "blind"), (0.0, "known")):
            loss, restored = self.loss(batch, Generator().manual_seed(index), blind=blind)
            self.log(f"tissue/val_loss_{name}", loss, batch_size=1)
            if not blind:
                self.log(self.monitor, loss, prog_bar=True, batch_size=1)
                self.log("tissue/val_mse", restored, batch_size=1)

    def loss(
        self, batch: Batch, draw: Generator, *, blind: float | None = None, turned: bool = False, slab: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy and mean squared error, inside the brain; the second is 0 where the scanner is not known, or has
        a curve: gains do not undo one, and scans of one curve are matched, not inverted."""
        truth, mask, labels = (batch[name][:, 0] for name in ("image", "mask", "labels"))
        if turned:
            truth, mask, labels = (x.flip(1) for x in (truth, mask, labels))
        if self.clusters:
            labels = intensity_clusters(truth, mask, self.network.tissues)
        maps = one_hot(labels, self.network.tissues)
        drawn = self.corruption.draw(self.network.tissues, draw)
        unknown = bool(torch.rand((), generator=draw) < (self.blind if blind is None else blind))
        with torch.no_grad():
            seen = self.corruption.replay(truth, mask, maps, drawn, self.spacing)
            nearly = doubted(drawn.resolution, draw)
            clear = deblur(seen, mask, nearly, self.network.spectrum).clamp(0, 1.5)
            applied, fitted = self.scanners(clear, truth, mask, maps, draw, unknown=unknown)
            volume, constants = evidence_of(clear, seen, mask, fitted, nearly, intensity_of(self.network), not unknown)
        first = 0 if slab is None else int(torch.randint(max(len(truth) - slab, 0) + 1, (), generator=draw))
        cut = slice(first, None if slab is None else first + slab)
        out = self.network(volume[None, :, cut], constants[None])[0]
        inside = mask[cut] & (labels[cut] > 0)
        loss = F.cross_entropy(out[:-1][:, inside].T, labels[cut][inside].long() - 1)
        if unknown or drawn.curved:
            return loss, torch.zeros(())
        undone = (out[:-1].softmax(0) * (clear * (-applied).exp())[:, cut]).sum(0)
        return loss, (undone + out[-1] - truth[cut])[mask[cut]].square().mean()

    def scanners(
        self, clear: Tensor, truth: Tensor, mask: Tensor, maps: Tensor, draw: Generator, *, unknown: bool
    ) -> tuple[Tensor, Tensor]:
        """(K, S, H, W) log gains to undo, and those that explain the scan by the reference's mean tissues. The second
        holds the subject's own deviation, which is no scanner's doing."""
        box = brain_box(mask)
        if unknown:
            none = torch.zeros(self.network.tissues, *mask.shape)
            return none, none
        expected = intensity_of(self.network)
        some = mask.nonzero()[::EVERY]
        at, index = places(box, some), some.unbind(1)
        of = maps[:, *index]
        theta, own = (fit_contrast(x[index], of, at, expected).contrast.theta for x in (clear, truth))
        normal = torch.randn(len(theta), generator=draw)
        off = self.doubt * torch.cat((normal[:-FIELD_TERMS], normal[-FIELD_TERMS:] / FIELD_TERMS**0.5))
        return Contrast.of(theta - own + off).log_over(box), Contrast.of(theta + off).log_over(box)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return falling(self.optimizer(self.network.parameters()), self.max_steps)


def learn_reference(network: TissueNet, volumes: Sequence[Volume], *, clusters: bool) -> None:
    """The network's buffers from untouched reference volumes: log E_k(r) by least squares, and the mean log spectrum."""
    tissues, terms = network.coefficients.shape
    normal, right, squares = torch.zeros(tissues, terms, terms).double(), torch.zeros(tissues, terms).double(), []
    for volume in volumes:
        terms_at = cubic(places(brain_box(volume.mask), volume.mask.nonzero())).double()
        values = volume.image[volume.mask].clamp(min=0.01).log().double()
        labels = tissue_labels(volume, tissues, clusters=clusters)[volume.mask]
        for k in range(tissues):
            design = terms_at[labels == k + 1]
            normal[k] += design.T @ design
            right[k] += design.T @ values[labels == k + 1]
        squares.append(mean_spectrum(volume.image, volume.mask, len(network.spectrum)).log())
    ridge = 1e-3 * torch.eye(terms).double()
    coefficients = torch.linalg.solve(normal + ridge, right[..., None])[..., 0].float()
    network.coefficients.copy_(coefficients)
    network.spectrum.copy_(torch.stack(squares).mean(0).exp())
    expected = TissueIntensity(coefficients, network.spread)
    spreads = []
    for volume in volumes[::8]:
        maps = one_hot(tissue_labels(volume, tissues, clusters=clusters), tissues)[:, volume.mask]
        at = places(brain_box(volume.mask), volume.mask.nonzero())
        spreads.append(fit_contrast(volume.image[volume.mask], maps, at, expected).spread)
    network.spread.copy_(torch.stack(spreads).mean(0))


def tissue_labels(volume: Volume, tissues: int, *, clusters: bool) -> Tensor:
    """(S, H, W) 1 .. K. Raises DataError where labels are wanted and there are none."""
    if clusters:
        return intensity_clusters(volume.image, volume.mask, tissues)
    if volume.labels is None:
        raise DataError(
            "the tissue network is trained on tissue labels, and this scan has none",
            cure="set data.labels=, or tasks.tissue.module.clusters=true",
            path=volume.scan.path,
            subject=volume.scan.subject,
        )
    return volume.labels


def intensity_of(network: TissueNet) -> TissueIntensity:
    return TissueIntensity(network.coefficients, network.spread)


def one_hot(labels: Tensor, tissues: int) -> Tensor:
    """(S, H, W) 1 .. K, 0 for none -> (K, S, H, W)."""
    return torch.stack([labels == k for k in range(1, tissues + 1)]).float()


def doubted(true: Resolution, draw: Generator) -> Resolution:
    """What an estimate of blur and noise would say: blur 0 to 20 % too small, noise 10 % off either way."""
    short = 1 - 0.2 * torch.rand((), generator=draw)
    return Resolution(true.width * short, true.noise * (0.1 * torch.randn((), generator=draw)).exp())
