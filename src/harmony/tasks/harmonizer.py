"""Harmonizer pre-training: undo a photometric corruption of reference slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import StepLR

from harmony.data import Corruption
from harmony.networks import Harmonizer

Batch = dict[str, Tensor]


class HarmonizerTask(lightning.LightningModule):
    """Mean squared error on the 0..255 scale, inside the brain, of the harmonized corrupted slice.

    corruption: drawn afresh for every step from (seed, step); in validation from the batch's number alone, so that the
    best epoch is chosen on the same corrupted slices every time.
    per_volume: the slices of a subject share its parameters; otherwise each slice has its own.
    halve_every: steps after which the learning rate is halved.
    """

    monitor = "harmonizer/val_mse"

    def __init__(
        self,
        *,
        network: Harmonizer,
        corruption: Corruption,
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
        per_volume: bool,
        halve_every: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.harmonizer, self.corruption, self.optimizer = network, corruption, optimizer
        self.per_volume, self.halve_every, self.seed = per_volume, halve_every, seed

    def training_step(self, batch: Batch, _: int) -> Tensor:
        mse = self.loss(batch, self.seed * 1_000_003 + self.global_step)
        self.log("harmonizer/train_mse", mse, prog_bar=True)
        return mse

    def validation_step(self, batch: Batch, index: int) -> None:
        count = len(batch["image"])
        self.log("harmonizer/val_mse", self.loss(batch, index), prog_bar=True, batch_size=count, on_epoch=True)

    def loss(self, batch: Batch, seed: int) -> Tensor:
        """255^2 mean over the brain of (alpha x + beta - truth)^2, x the corrupted slice; unclamped: gradients live."""
        truth, mask = batch["image"], batch["mask"]
        generator = torch.Generator().manual_seed(seed)
        volume = batch["subject"].cpu() if self.per_volume else torch.arange(len(truth))
        drawn = self.corruption.draw(batch["position"].cpu(), volume, generator)
        x = self.corruption.replay(truth, mask, drawn)
        return 255**2 * (self.harmonizer(x).apply(x) - truth)[mask].square().mean()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.harmonizer.parameters())
        schedule = StepLR(optimizer, self.halve_every, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
