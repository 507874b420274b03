"""Supervised training on travelling subjects: the query slice in, the reference slice of the same head out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import lightning
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from harmony.networks import Translator

Batch = dict[str, Tensor]


class PairedTask(lightning.LightningModule):
    """Mean |x_h - x| over the brain, x_h the translated query slice and x its reference twin; in grey levels of 255.

    optimizer: builds an optimizer from the parameters. Its rate falls to 0 along a cosine over `max_steps`.
    """

    monitor = "unet/val_error"

    def __init__(
        self, *, network: Translator, optimizer: Callable[[Iterable[Parameter]], Optimizer], max_steps: int
    ) -> None:
        super().__init__()
        self.network, self.optimizer, self.max_steps = network, optimizer, max_steps

    def training_step(self, batch: Batch, _: int) -> Tensor:
        error = self.error(batch)
        self.log("unet/train_error", 255 * error, prog_bar=True)
        return error

    def validation_step(self, batch: Batch, _: int) -> None:
        count = len(batch["image"])
        self.log(self.monitor, 255 * self.error(batch), prog_bar=True, batch_size=count, on_epoch=True)

    def error(self, batch: Batch) -> Tensor:
        """A scalar, in units of the image."""
        output = self.network(batch["query"], batch["query_mask"])
        return (output - batch["image"])[batch["mask"]].abs().mean()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.network.parameters())
        schedule = CosineAnnealingLR(optimizer, T_max=self.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
