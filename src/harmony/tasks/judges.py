"""Training of the judges: networks that are asked a question of a harmonized image later."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from harmony.core import DataError
from harmony.networks import AgeNet, AnySizeUNet

Batch = dict[str, Tensor]


class SegmenterTask(lightning.LightningModule):
    """Pixel-wise cross-entropy of the label map, background included; validated by 1 - mean Dice.

    network: logits (B, classes, H, W), background first. Labels are 0 .. classes - 1.
    """

    monitor = "segmenter/val_dice_error"

    def __init__(self, *, network: AnySizeUNet, optimizer: Callable[[Iterable[Parameter]], Optimizer]) -> None:
        super().__init__()
        self.network, self.optimizer = network, optimizer

    def training_step(self, batch: Batch, _: int) -> Tensor:
        loss = F.cross_entropy(self.network(batch["image"]), labels_of(batch))
        self.log("segmenter/train_loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, _: int) -> None:
        logits, truth = self.network(batch["image"]), labels_of(batch)
        error = 1 - dice(logits.argmax(1), truth, classes=logits.shape[1])
        self.log(self.monitor, error, prog_bar=True, batch_size=len(truth), on_epoch=True)

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer(self.network.parameters())


class AgeTask(lightning.LightningModule):
    """Mean absolute error, in years, of the age of the subjects whose slices are in the batch."""

    monitor = "age/val_mae"

    def __init__(self, *, network: AgeNet, optimizer: Callable[[Iterable[Parameter]], Optimizer]) -> None:
        super().__init__()
        self.network, self.optimizer = network, optimizer

    def training_step(self, batch: Batch, _: int) -> Tensor | None:
        error = self.errors(batch)
        if len(error) == 0:  # nobody's age is known: Lightning skips the step
            return None
        self.log("age/train_mae", error.mean(), prog_bar=True)
        return error.mean()

    def validation_step(self, batch: Batch, _: int) -> None:
        error = self.errors(batch)
        if len(error):
            self.log(self.monitor, error.mean(), prog_bar=True, batch_size=len(error), on_epoch=True)

    def errors(self, batch: Batch) -> Tensor:
        """(V,) |predicted - true age| of the V subjects of the batch whose age is known."""
        known = batch["age"].isfinite()
        if not known.any():
            return batch["age"][:0]
        _, volume = batch["subject"][known].unique(return_inverse=True)
        truth = torch.zeros(int(volume.max()) + 1).to(batch["age"]).index_copy(0, volume, batch["age"][known])
        return (self.network(batch["image"][known], volume) - truth).abs()

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer(self.network.parameters())


def labels_of(batch: Batch) -> Tensor:
    """(B, H, W) int64. Raises DataError where the data set has no label maps."""
    if "labels" not in batch:
        raise DataError("a segmenter is trained on label maps, and this data set has none", cure="set data.labels=")
    return batch["labels"][:, 0].long()


def dice(prediction: Tensor, truth: Tensor, *, classes: int) -> Tensor:
    """Mean Dice over the classes 1 .. classes - 1 that occur in truth or prediction, all pixels of the batch pooled."""
    scores = []
    for k in range(1, classes):
        a, b = prediction == k, truth == k
        if a.any() or b.any():
            scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return torch.stack(scores).mean() if scores else torch.ones(())
