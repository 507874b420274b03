"""Flow pre-training: maximum likelihood on the reference domain, in bits per dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from harmony.flows import ImageDensity

Batch = dict[str, Tensor]


class FlowTask(lightning.LightningModule):
    """Minimises the mean bits per dimension of reference slices.

    optimizer: builds an optimizer from the parameters. Its rate falls to 0 along a cosine over `max_steps`.
    seed: with the step number it gives the dequantization noise, so that a resumed run draws the same noise.
    """

    monitor = "flow/val_bpd"

    def __init__(
        self, *, density: ImageDensity, optimizer: Callable[[Iterable[Parameter]], Optimizer], max_steps: int, seed: int
    ) -> None:
        super().__init__()
        self.density, self.optimizer, self.max_steps, self.seed = density, optimizer, max_steps, seed

    def training_step(self, batch: Batch, _: int) -> Tensor:
        noise = torch.Generator().manual_seed(self.seed * 1_000_003 + self.global_step)
        bpd = self.density.bits_per_dim(batch["image"], noise).mean()
        self.log("flow/train_bpd", bpd, prog_bar=True)
        return bpd

    def validation_step(self, batch: Batch, _: int) -> None:
        bpd = self.density.bits_per_dim(batch["image"])
        self.log("flow/val_bpd", bpd.mean(), prog_bar=True, batch_size=len(bpd), on_epoch=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.density.parameters())
        schedule = CosineAnnealingLR(optimizer, T_max=self.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
