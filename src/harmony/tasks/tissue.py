"""The tissue network of scanner inversion: which tissue is where, under random scanners."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Generator, Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from torch.optim import Optimizer

from harmony.core import ConfigError, Volume, group
from harmony.core.batch import Batch, draws, each
from harmony.core.reference import Reference
from harmony.data import Lesions, ScannerCorruption
from harmony.networks import TissueNet
from harmony.scanner import BRIGHT, Resolution, deblur, intensity_clusters, shown
from harmony.scanner.calibration import Calibration
from harmony.scanner.tissue_maps import learn_reference, one_hot
from harmony.tasks.optimization import falling

MARGIN = 3  # slices on either side of a slab that are made with it: what a blur mixes into it, and a filter reads


class TissueTask(lightning.LightningModule):
    """Cross-entropy of the tissue maps of reference volumes under random scanners.

    A step draws a scanner for each volume of the batch and `slab` slices of it, as many scanners as volumes, since one
    scanner a step says too little of the others (drawn from (seed, step); in validation all slices, drawn from the
    batch's number); gives some volumes lesions, which are white matter; deblurs what that scanner sees with nearly the
    true blur and noise, and shows both to the network.

    clusters: the targets are clusters of the reference's own intensities, as where there are no tissue labels.
    spacing: voxel side, mm.
    """

    monitor = "tissue/val_loss"
    keeps = "last"  # the rate has fallen to 0 by then

    def __init__(
        self,
        *,
        network: TissueNet,
        lesions: Lesions,
        corruption: ScannerCorruption,
        calibration: Calibration,
        reference: Reference,
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
        max_steps: int,
        slab: int,
        spacing: float,
        clusters: bool,
        mirror: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.network, self.corruption, self.optimizer = network, corruption, optimizer
        self.lesions, self.calibration, self.reference = lesions, calibration, reference
        self.max_steps, self.slab, self.spacing = max_steps, slab, spacing
        self.clusters, self.mirror, self.seed = clusters, mirror, seed
        self.clustered: dict[tuple[bool, int], Tensor] = {}  # labels of a volume, by part and number

    def on_fit_start(self) -> None:
        """What is learned without a gradient: mean intensities of the tissues, and the spectrum."""
        every = self.trainer.val_check_interval
        if self.max_steps % every:
            raise ConfigError(
                f"max_steps={self.max_steps} of the tissue network: how scans are read is learned in the validation "
                f"after the last step, and val_every={every} has none there -> choose a multiple of it"
            )
        learn_reference(self.network, self.volumes("train"), clusters=self.clusters)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Scanners are made on the CPU, wherever the network is."""
        return batch

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
        draw = draws(self.seed, self.global_step, group.rank())
        volumes = volumes_of(batch)
        slab = min(self.slab, *(len(volume["image"]) for volume in volumes))
        seen = [self.seen(volume, draw, slab=slab, mirror=self.mirror) for volume in volumes]
        loss = self.loss(*(torch.stack(each) for each in zip(*seen, strict=True)))
        self.log("tissue/train_loss", loss, prog_bar=True, batch_size=len(volumes))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        draw = draws(0, index)
        for volume in volumes_of(batch):
            labels, seen = self.seen(volume, draw)
            self.log(self.monitor, self.loss(labels[None], seen[None]), prog_bar=True, batch_size=1, on_epoch=True)

    def loss(self, labels: Tensor, seen: Tensor) -> Tensor:
        """(B, S, H, W) labels 1 .. K, (B, 2, S, H, W) -> mean over the voxels that have a tissue; 0 where none has."""
        total = F.cross_entropy(self.network(seen), labels.long() - 1, ignore_index=-1, reduction="sum")
        return total / (labels > 0).sum().clamp(min=1)

    def labels(self, volume: Batch) -> Tensor:
        """(S, H, W) 1 .. K, 0 outside the brain. Clusters are found once in training: it takes as long as a step."""
        mask = volume["mask"][:, 0]
        if not self.clusters:
            return torch.where(mask, volume["labels"][:, 0], 0)
        key = self.training, int(volume["subject"][0])
        if key not in self.clustered:
            self.clustered[key] = intensity_clusters(volume["image"][:, 0], mask, self.network.tissues)
        return self.clustered[key]

    @torch.no_grad()
    def seen(
        self, volume: Batch, draw: Generator, *, slab: int | None = None, mirror: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(S, H, W) labels inside the brain, 0 outside, and (2, S, H, W) what the network is shown of that volume, or
        of a slab of it."""
        truth, mask, labels = volume["image"][:, 0], volume["mask"][:, 0], self.labels(volume)
        slab = len(mask) if slab is None else slab
        first = int(torch.randint(len(mask) - slab + 1, (), generator=draw))
        part = slice(max(first - MARGIN, 0), first + slab + MARGIN)
        chosen = slice(first - part.start, first - part.start + slab)
        truth = self.lesions.into(truth, labels == self.network.tissues, draw)  # white matter is the last
        drawn = self.corruption.draw(self.network.tissues, draw)
        maps = one_hot(labels, self.network.tissues)
        with torch.autocast(truth.device.type, enabled=False):  # a scanner is exact
            made, resolution = self.corruption.replay(truth, mask, maps, drawn, self.spacing, part)
            clear = deblur(made, mask[part], doubted(resolution, draw), self.network.spectrum.cpu()).clamp(0, BRIGHT)
        both = shown(clear, made, mask[part])
        labels, both = labels[part][chosen], both[:, chosen]
        turned = mirror and bool(torch.rand((), generator=draw) < 0.5)
        return (labels.flip(1), both.flip(2)) if turned else (labels, both)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return falling(self.optimizer(self.network.parameters()), self.max_steps)


def volumes_of(batch: Batch) -> list[Batch]:
    """The whole volumes of a batch, apart."""
    return [each(batch, itemgetter(batch["subject"] == subject)) for subject in batch["subject"].unique()]


def doubted(true: Resolution, draw: Generator) -> Resolution:
    """What an estimate of blur and noise would say: blur 0 to 20 % too small, noise 10 % off either way."""
    short = 1 - 0.2 * torch.rand((), generator=draw)
    return Resolution(true.width * short, true.noise * (0.1 * torch.randn((), generator=draw)).exp())
