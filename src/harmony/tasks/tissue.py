"""The tissue maps of scanner inversion: which tissue is where, under random scanners."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from safetensors.torch import load_file
from torch import Generator, Tensor, nn
from torch.nn import Parameter
from torch.nn import functional as F
from torch.optim import Optimizer

from harmony.core import ConfigError, Volume, group
from harmony.core.batch import Batch, draws, each
from harmony.core.reference import Reference
from harmony.data import TISSUE_MAPS, Lesions, ScannerCorruption, SliceDataModule
from harmony.scanner import (
    BRIGHTEST,
    Calibration,
    Prior,
    Resolution,
    cluster_labels,
    deblur,
    given_labels,
    intensity_clusters,
    learn_spectrum,
    network_input,
    one_hot,
)
from harmony.tasks.optimization import falling

BESIDE = 3  # slices on either side of a slab that are made with it: what a blur mixes into it, and a filter reads


class TissueTask(lightning.LightningModule):
    """Cross-entropy of the tissue maps of reference volumes under random scanners; in the end, the reference's prior.

    A step draws a scanner for each volume of the batch and `slab` slices of it, as many scanners as volumes, since one
    scanner a step says too little of the others (drawn from (seed, step); in validation all slices, drawn from the
    batch's number); gives some volumes lesions, which stay the tissue that they lie in; deblurs what that scanner makes
    with nearly the true blur and noise, and gives both to the network.

    network: (B, 2, S, H, W) -> (B, K, S, H, W) logits. tissues: names of the labels 1 .. K. lesions_in: one of them.
    label_map: the segmentation that the labels are of (`TISSUE_MAPS`), None where they are tissues. start: weights of a
    network to go on from (safetensors), or None; of one with a tissue less, the second counts twice.
    flattened: share of the scans that are given without their rough field, as the first round of `even_scan` does.
    clusters: the targets are clusters of the reference's own intensities, as where there are no tissue labels.
    spacing: voxel side, mm.
    """

    monitor = "tissue/val_loss"
    keeps = "last"  # the rate has fallen to 0 by then

    def __init__(
        self,
        *,
        network: nn.Module,
        tissues: Sequence[str],
        lesions: Lesions,
        lesions_in: str,
        corruption: ScannerCorruption,
        calibration: Calibration,
        reference: Reference,
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
        max_steps: int,
        slab: int,
        flattened: float,
        spacing: float,
        clusters: bool,
        label_map: str | None,
        start: str | None,
        mirror: bool,
        seed: int,
    ) -> None:
        super().__init__()
        if lesions_in not in tissues:
            raise ConfigError(f"lesions_in={lesions_in}: no tissue -> one of {', '.join(tissues)}")
        self.network, self.corruption, self.optimizer = network, corruption, optimizer
        self.tissues, self.lesions, self.lesioned = tuple(tissues), lesions, 1 + list(tissues).index(lesions_in)
        self.calibration, self.reference = calibration, reference
        self.spectrum = torch.ones(calibration.frequencies)  # of the reference, known when a fit starts
        self.max_steps, self.slab, self.spacing = max_steps, slab, spacing
        self.clusters, self.mirror, self.seed, self.flattened = clusters, mirror, seed, flattened
        self.label_map = None if label_map is None else TISSUE_MAPS[label_map]
        if start is not None:
            network.load_state_dict(going_on(load_file(start), network.state_dict()))
        self.clustered: dict[tuple[bool, int], Tensor] = {}  # labels of a volume, by part and number

    def on_fit_start(self) -> None:
        """What the filter of a step needs to know of the reference."""
        data: SliceDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        self.spectrum = learn_spectrum(data.volumes("train"), self.calibration.frequencies)

    @torch.no_grad()
    def finish(self, data: SliceDataModule) -> dict[str, Prior]:
        """What is known of the reference scanner, learned through the network as it is now."""
        prior = self.calibration.learn(
            self.labelled(data.volumes("train")),
            self.labelled(data.volumes("val")),
            network=self.network.eval(),
            labelling=cluster_labels(len(self.tissues)) if self.clusters else given_labels,
            reference=self.reference,
            tissues=self.tissues,
            scanners=self.corruption.variance(len(self.tissues)),
        )
        return {"prior": prior}

    def labelled(self, volumes: Sequence[Volume]) -> list[Volume]:
        """With tissues for labels."""
        return [v if v.labels is None else replace(v, labels=self.as_tissues(v.labels)) for v in volumes]

    def as_tissues(self, labels: Tensor) -> Tensor:
        """1 .. K of the codes of `label_map`, 0 of any other."""
        if self.label_map is None:
            return labels
        table = labels.new_zeros(1 + max(int(labels.max()), *self.label_map))
        table[list(self.label_map)] = labels.new_tensor(list(self.label_map.values()))
        return table[labels.long()]

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Scanners are made on the CPU, wherever the network is."""
        return batch

    def training_step(self, batch: Batch, _: int) -> Tensor:
        draw = draws(self.seed, self.global_step, group.rank())
        volumes = volumes_of(batch)
        slab = min(self.slab, *(len(volume["image"]) for volume in volumes))
        examples = [self.example(volume, draw, slab=slab, mirror=self.mirror) for volume in volumes]
        loss = self.loss(*(torch.stack(part) for part in zip(*examples, strict=True)))
        self.log("tissue/train_loss", loss, prog_bar=True, batch_size=len(volumes))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        draw = draws(0, index)
        for volume in volumes_of(batch):
            labels, scan = self.example(volume, draw)
            self.log(self.monitor, self.loss(labels[None], scan[None]), prog_bar=True, batch_size=1, on_epoch=True)

    def loss(self, labels: Tensor, scans: Tensor) -> Tensor:
        """(B, S, H, W) labels 1 .. K, (B, 2, S, H, W) -> mean over the voxels that have a tissue; 0 where none has."""
        total = F.cross_entropy(self.network(scans), labels.long() - 1, ignore_index=-1, reduction="sum")
        return total / (labels > 0).sum().clamp(min=1)

    def labels(self, volume: Batch) -> Tensor:
        """(S, H, W) 1 .. K, 0 outside the brain. Clusters are taken once in training: it takes as long as a step."""
        mask = volume["mask"][:, 0]
        if not self.clusters:
            return torch.where(mask, self.as_tissues(volume["labels"][:, 0]), 0)
        key = self.training, int(volume["subject"][0])
        if key not in self.clustered:
            self.clustered[key] = intensity_clusters(volume["image"][:, 0], mask, len(self.tissues))
        return self.clustered[key]

    @torch.no_grad()
    def example(
        self, volume: Batch, draw: Generator, *, slab: int | None = None, mirror: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(S, H, W) labels inside the brain, 0 outside, and (2, S, H, W) the network's input, of that volume as a
        random scanner would have made it, or of a slab of it."""
        truth, mask, labels = volume["image"][:, 0], volume["mask"][:, 0], self.labels(volume)
        slab = len(mask) if slab is None else slab
        first = int(torch.randint(len(mask) - slab + 1, (), generator=draw))
        part = slice(max(first - BESIDE, 0), first + slab + BESIDE)
        chosen = slice(first - part.start, first - part.start + slab)
        truth = self.lesions.into(truth, labels == self.lesioned, draw)
        drawn = self.corruption.draw(len(self.tissues), draw)
        maps = one_hot(labels, len(self.tissues))
        with torch.autocast(truth.device.type, enabled=False):  # a scanner is exact
            scan = self.corruption.replay(truth, mask, maps, drawn, self.spacing, part)
            clear = deblur(scan.image, mask[part], doubted(scan.resolution, draw), self.spectrum).clamp(0, BRIGHTEST)
            both = network_input(clear, scan.image, mask[part])
            if torch.rand((), generator=draw) < self.flattened:
                field = self.corruption.rough_field(truth, mask, maps, drawn, self.spacing)[part]
                both = (both * scan.top / field.exp()).clamp(0, BRIGHTEST)
        labels, both = labels[part][chosen], both[:, chosen]
        turned = mirror and bool(torch.rand((), generator=draw) < 0.5)
        return (labels.flip(1), both.flip(2)) if turned else (labels, both)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return falling(self.optimizer(self.network.parameters()), self.max_steps)


def going_on(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network for one of as many tissues, or one more: deep grey matter begins as grey."""
    return {
        name: before[name] if before[name].shape == value.shape else before[name][[0, 1, *range(1, len(value) - 1)]]
        for name, value in now.items()
    }


def volumes_of(batch: Batch) -> list[Batch]:
    """The whole volumes of a batch, apart."""
    return [each(batch, itemgetter(batch["subject"] == subject)) for subject in batch["subject"].unique()]


def doubted(true: Resolution, draw: Generator) -> Resolution:
    """What an estimate of blur and noise would say: blur 0 to 20 % too small, noise 10 % off either way."""
    short = 1 - 0.2 * torch.rand((), generator=draw)
    return Resolution(true.width * short, true.noise * (0.1 * torch.randn((), generator=draw)).exp())
