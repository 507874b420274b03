"""The tissue network of scanner inversion: which tissue is where, and what is left when the scanner is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Generator, Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from torch.optim import Optimizer

from harmony.core import Volume
from harmony.core.batch import Batch, draws
from harmony.core.reference import Reference
from harmony.core.scanner import (
    BRIGHT,
    FIELD_TERMS,
    Contrast,
    Resolution,
    brain_box,
    deblur,
    evidence_of,
    fit_contrast,
    intensity_clusters,
    places,
)
from harmony.data import ScannerCorruption
from harmony.networks import TissueNet
from harmony.tasks.calibration import Calibration
from harmony.tasks.optimization import falling
from harmony.tasks.tissue_maps import learn_reference, one_hot

EVERY = 13  # of the voxels that a scanner is fitted to in training: the fit has 22 numbers


class TissueTask(lightning.LightningModule):
    """Cross-entropy of the tissue maps of reference volumes under random scanners.

    A step corrupts one reference volume (drawn from (seed, step); in validation from the volume's number), deblurs it
    with nearly the true blur and noise, and shows it to the network in one of two ways: with nothing known of the
    scanner (probability `blind`), or with gains and shading fitted to the true maps, off by draws of deviation `doubt`.

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
        calibration: Calibration,
        reference: Reference,
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
        max_steps: int,
        blind: float,
        doubt: float,
        slab: int,
        spacing: float,
        clusters: bool,
        mirror: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.network, self.corruption, self.optimizer = network, corruption, optimizer
        self.calibration, self.reference = calibration, reference
        self.max_steps, self.blind, self.doubt = max_steps, blind, doubt
        self.slab, self.spacing, self.clusters, self.mirror, self.seed = slab, spacing, clusters, mirror, seed

    def on_fit_start(self) -> None:
        """What is learned without a gradient: mean intensities of the tissues, and the spectrum."""
        learn_reference(self.network, self.volumes("train"), clusters=self.clusters)

    def on_validation_epoch_end(self) -> None:
        """After the last step: how scans are read with these weights, learned on corrupted and on untouched volumes."""
        if self.trainer.global_step >= self.max_steps:
            self.calibration.learn(
                self.network,
                self.corruption,
                self.reference,
                self.volumes("train"),
                self.volumes("val"),
            )

    def volumes(self, part: str) -> list[Volume]:
        volumes: list[Volume] = self.trainer.datamodule.volumes(part)  # type: ignore[attr-defined]
        return volumes

    def training_step(self, batch: Batch, _: int) -> Tensor:
        draw = draws(self.seed, self.global_step)
        turned = self.mirror and bool(torch.rand((), generator=draw) < 0.5)
        loss = self.loss(batch, draw, turned=turned, slab=self.slab)
        self.log("tissue/train_loss", loss, prog_bar=True, batch_size=1)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        for blind, name in ((1.0, "tissue/val_loss_blind"), (0.0, self.monitor)):
            loss = self.loss(batch, Generator().manual_seed(index), blind=blind)
            self.log(name, loss, prog_bar=True, batch_size=1, on_epoch=True)

    def loss(
        self,
        batch: Batch,
        draw: Generator,
        *,
        blind: float | None = None,
        turned: bool = False,
        slab: int | None = None,
    ) -> Tensor:
        """Cross-entropy over the voxels of the brain that have a tissue."""
        with torch.no_grad(), torch.autocast(batch["image"].device.type, enabled=False):  # a scanner is exact
            labels, mask, volume, constants = self.shown(batch, draw, blind=blind, turned=turned)
        first = 0 if slab is None else int(torch.randint(max(len(mask) - slab, 0) + 1, (), generator=draw))
        cut = slice(first, None if slab is None else first + slab)
        logits = self.network(volume[None, :, cut], constants[None])[0]
        inside = mask[cut] & (labels[cut] > 0)
        return F.cross_entropy(logits[:, inside].T, labels[cut][inside].long() - 1)

    def shown(
        self, batch: Batch, draw: Generator, *, blind: float | None, turned: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(S, H, W) labels and mask of a corrupted volume, and what the network sees of it: `evidence_of`."""
        truth, mask, labels = (batch[name][:, 0] for name in ("image", "mask", "labels"))
        if turned:
            truth, mask, labels = (x.flip(1) for x in (truth, mask, labels))
        if self.clusters:
            labels = intensity_clusters(truth, mask, self.network.tissues)
        maps = one_hot(labels, self.network.tissues)
        drawn = self.corruption.draw(self.network.tissues, draw)
        known = bool(torch.rand((), generator=draw) >= (self.blind if blind is None else blind))
        seen, resolution = self.corruption.replay(truth, mask, maps, drawn, self.spacing)
        nearly = doubted(resolution, draw)
        clear = deblur(seen, mask, nearly, self.network.spectrum).clamp(0, BRIGHT)
        gains = self.fitted(clear, mask, maps, draw) if known else torch.zeros_like(maps)
        expected = self.network.prior.expected
        return labels, mask, *evidence_of(clear, seen, mask, gains, nearly, expected, known)

    def fitted(self, clear: Tensor, mask: Tensor, maps: Tensor, draw: Generator) -> Tensor:
        """(K, S, H, W) log gains that explain the scan by the reference's mean tissues, off by `doubt`."""
        box, some = brain_box(mask), mask.nonzero()[::EVERY]
        z, y, x = some.unbind(1)
        fit = fit_contrast(clear[z, y, x], maps[:, z, y, x], places(box, some), self.network.prior.expected)
        normal = self.doubt * torch.randn(len(fit.contrast.theta), generator=draw)
        off = torch.cat((normal[:-FIELD_TERMS], normal[-FIELD_TERMS:] / FIELD_TERMS**0.5))
        return Contrast.of(fit.contrast.theta + off).log_over(box)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return falling(self.optimizer(self.network.parameters()), self.max_steps)


def doubted(true: Resolution, draw: Generator) -> Resolution:
    """What an estimate of blur and noise would say: blur 0 to 20 % too small, noise 10 % off either way."""
    short = 1 - 0.2 * torch.rand((), generator=draw)
    return Resolution(true.width * short, true.noise * (0.1 * torch.randn((), generator=draw)).exp())
