"""Harmonizer pre-training: undo a photometric corruption of reference slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import StepLR

from harmony.core import Stack
from harmony.core.reference import Reference
from harmony.data import Corruption
from harmony.networks import Harmonizer
from harmony.tasks.flow import PROCESS
from harmony.tasks.judges import moved

Batch = dict[str, Tensor]


class HarmonizerTask(lightning.LightningModule):
    """Mean squared error on the 0..255 scale of the harmonized corrupted slice, inside the brain or over all pixels.

    corruption: drawn afresh for every step from (seed, step); in validation from the batch's number alone, so that the
    best epoch is chosen on the same corrupted slices every time.
    per_volume: the slices of a subject share its parameters; otherwise each slice has its own.
    reference: to which a corrupted volume is matched for a harmonizer that reads a context: batches of whole volumes.
    halve_every: steps after which the learning rate is halved. shift: of training slices, see `moved`.
    pixels: over which the mean runs: of the brain, or all (the map is then taught to be 0 outside as well).
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
        reference: Reference,
        # Optional, so that a model of a task that does not name them is found again by its settings:
        pixels: Literal["brain", "all"] = "brain",
        shift: int = 0,
    ) -> None:
        super().__init__()
        self.pixels, self.shift = pixels, shift
        self.harmonizer, self.corruption, self.optimizer = network, corruption, optimizer
        self.per_volume, self.halve_every, self.seed, self.reference = per_volume, halve_every, seed, reference

    def training_step(self, batch: Batch, _: int) -> Tensor:
        seed = self.seed * 1_000_003 + self.global_step + self.global_rank * PROCESS
        if self.shift:
            batch = moved(batch, mirror=False, shift=self.shift, draw=torch.Generator().manual_seed(seed))
        mse = self.loss(batch, seed)
        self.log("harmonizer/train_mse", mse, prog_bar=True, sync_dist=True)
        return mse

    def validation_step(self, batch: Batch, index: int) -> None:
        count = len(batch["image"])
        self.log("harmonizer/val_mse", self.loss(batch, index), prog_bar=True, batch_size=count, on_epoch=True)

    def loss(self, batch: Batch, seed: int) -> Tensor:
        """255^2 mean of (alpha x + beta - truth)^2, x the corrupted slice; unclamped: gradients live."""
        truth, mask = batch["image"], batch["mask"]
        generator = torch.Generator().manual_seed(seed)
        volume = batch["subject"].cpu() if self.per_volume else torch.arange(len(truth))
        drawn = self.corruption.draw(batch["position"].cpu(), volume, generator)
        x = self.corruption.replay(truth, mask, drawn)
        if self.harmonizer.context:
            base = self._matched(x, batch)
            output = self.harmonizer(base, x).apply(base)
        else:
            output = self.harmonizer(x).apply(x)
        error = output - truth
        return 255**2 * (error if self.pixels == "all" else error[mask]).square().mean()

    def _matched(self, x: Tensor, batch: Batch) -> Tensor:
        """Each volume of the batch, as a whole."""
        matched = torch.zeros_like(x)
        for subject in batch["subject"].unique():
            own = batch["subject"] == subject
            matched[own] = self.reference.match(Stack(x[own], batch["mask"][own], batch["position"][own]))
        return matched

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.harmonizer.parameters())
        schedule = StepLR(optimizer, self.halve_every, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
