"""Supervised training on travelling subjects: the query slice in, the reference slice of the same head out."""

from __future__ import annotations

import lightning
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torchmetrics import MeanMetric

from harmony.core.batch import Batch
from harmony.networks import Translator
from harmony.tasks.optimization import BuildOptimizer, falling


class PairedTask(lightning.LightningModule):
    """Mean |x_h - x| over the brain, x_h the translated query slice and x its reference twin; in grey levels of 255.

    optimizer: builds an optimizer from the parameters. Its rate falls to 0 along a cosine over `max_steps`.
    """

    monitor = "unet/val_error"

    def __init__(self, *, network: Translator, optimizer: BuildOptimizer, max_steps: int) -> None:
        super().__init__()
        self.network, self.optimizer, self.max_steps = network, optimizer, max_steps
        self.val_error = MeanMetric()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        error = self.error(batch)
        self.log("unet/train_error", 255 * error, prog_bar=True)
        return error

    def validation_step(self, batch: Batch, _: int) -> None:
        self.val_error.update(255 * self.error(batch), len(batch["image"]))
        self.log(self.monitor, self.val_error, prog_bar=True, on_epoch=True)

    def error(self, batch: Batch) -> Tensor:
        """A scalar, in units of the image."""
        output = self.network(batch["query"], batch["query_mask"])
        return (output - batch["image"])[batch["mask"]].abs().mean()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return falling(self.optimizer(self.network.parameters()), self.max_steps)
