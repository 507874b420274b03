"""Training of the judges: networks that are asked a question of a harmonized image later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Generator, Tensor
from torchmetrics import MeanAbsoluteError, MeanMetric

from harmony.core import DataError
from harmony.core.batch import Batch, draws
from harmony.data import Corruption
from harmony.metrics.labels import mean_dice
from harmony.networks import AgeNet, AnySizeUNet
from harmony.tasks.moves import moved
from harmony.tasks.optimization import BuildOptimizer, falling


class SegmenterTask(lightning.LightningModule):
    """Cross-entropy + (1 - soft Dice) of the label map, background included in the first; validated by 1 - mean Dice.

    network: logits (B, classes, H, W), background first. Labels are 0 .. classes - 1.
    augment: corruptions, one after the other, of what the network sees (BigAug, Zhang et al. 2020): drawn for each
        slice from (seed, step), in validation from the batch's number alone, so that the best weights are chosen on the
        same images every time.
    mirror, shift: see `moved`; in training only. The learning rate falls to 0 along a cosine over `max_steps`.
    """

    monitor = "segmenter/val_dice_error"

    def __init__(
        self,
        *,
        network: AnySizeUNet,
        optimizer: BuildOptimizer,
        max_steps: int,
        augment: Mapping[str, Corruption],
        mirror: bool,
        shift: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.network, self.optimizer, self.max_steps = network, optimizer, max_steps
        self.augment, self.mirror, self.shift, self.seed = dict(augment), mirror, shift, seed
        self.val_dice_error = MeanMetric()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        draw = draws(self.seed, self.global_step)
        batch = moved(batch, mirror=self.mirror, shift=self.shift, draw=draw)
        loss = segmentation_loss(self.network(self.seen(batch, draw)), labels_of(batch))
        self.log("segmenter/train_loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        logits, truth = self.network(self.seen(batch, draws(0, index))), labels_of(batch)
        dice = mean_dice(truth.cpu(), logits.argmax(1).cpu(), classes=range(1, logits.shape[1]))
        if not math.isnan(dice):  # slices without any structure
            self.val_dice_error.update(1 - dice, len(truth))
            self.log(self.monitor, self.val_dice_error, prog_bar=True, on_epoch=True)

    def seen(self, batch: Batch, draw: Generator) -> Tensor:
        """What the network sees of the batch: each slice with corruptions of its own."""
        image, mask = batch["image"], batch["mask"]
        for corruption in self.augment.values():
            drawn = corruption.draw(batch["position"].cpu(), torch.arange(len(image)), draw)
            image = corruption.replay(image, mask, drawn)
        return image

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return falling(self.optimizer(self.network.parameters()), self.max_steps)


class Ages(NamedTuple):
    """Years, (V,) each: of V subjects."""

    predicted: Tensor
    true: Tensor


class AgeTask(lightning.LightningModule):
    """Mean absolute error, in years, of the age of the subjects whose slices are in the batch.

    mirror, shift: see `moved`; in training only. The learning rate falls to 0 along a cosine over `max_steps`.
    """

    monitor = "age/val_mae"

    def __init__(
        self, *, network: AgeNet, optimizer: BuildOptimizer, max_steps: int, mirror: bool, shift: int, seed: int
    ) -> None:
        super().__init__()
        self.network, self.optimizer, self.max_steps = network, optimizer, max_steps
        self.mirror, self.shift, self.seed = mirror, shift, seed
        self.val_mae = MeanAbsoluteError()

    def training_step(self, batch: Batch, _: int) -> Tensor | None:
        draw = draws(self.seed, self.global_step)
        ages = self.ages(moved(batch, mirror=self.mirror, shift=self.shift, draw=draw))
        if len(ages.true) == 0:  # nobody's age is known: Lightning skips the step
            return None
        error = (ages.predicted - ages.true).abs().mean()
        self.log("age/train_mae", error, prog_bar=True)
        return error

    def validation_step(self, batch: Batch, _: int) -> None:
        ages = self.ages(batch)
        if len(ages.true):
            self.val_mae.update(ages.predicted, ages.true)
            self.log(self.monitor, self.val_mae, prog_bar=True, on_epoch=True)

    def ages(self, batch: Batch) -> Ages:
        """Of the subjects of the batch whose age is known."""
        known = batch["age"].isfinite()
        if not known.any():
            return Ages(batch["age"][:0], batch["age"][:0])
        _, volume = batch["subject"][known].unique(return_inverse=True)
        truth = torch.zeros(int(volume.max()) + 1).to(batch["age"]).index_copy(0, volume, batch["age"][known])
        return Ages(self.network(batch["image"][known], volume), truth)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return falling(self.optimizer(self.network.parameters()), self.max_steps)


def segmentation_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy + 1 - mean over structures of 2 sum(p t) / (sum p + sum t), sums over the batch."""
    p = logits.softmax(1)[:, 1:]
    t = F.one_hot(truth, logits.shape[1]).movedim(-1, 1)[:, 1:]
    both, sizes = (p * t).sum((0, 2, 3)), p.sum((0, 2, 3)) + t.sum((0, 2, 3))
    present = t.any(3).any(2).any(0)
    soft = (2 * both / sizes)[present].mean() if present.any() else torch.ones(()).to(logits)
    return F.cross_entropy(logits, truth) + 1 - soft


def labels_of(batch: Batch) -> Tensor:
    """(B, H, W) int64. Raises DataError where the data set has no label maps."""
    if "labels" not in batch:
        raise DataError("a segmenter is trained on label maps, and this data set has none", cure="set data.labels=")
    return batch["labels"][:, 0].long()
