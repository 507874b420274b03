"""Harmonizer pre-training: undo a photometric corruption of reference slices."""

from __future__ import annotations

from typing import Literal

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Generator, Tensor
from torchmetrics import MeanMetric

from harmony.core import Stack, group
from harmony.core.batch import Batch, draws
from harmony.core.reference import Reference
from harmony.data import Corruption
from harmony.networks import Harmonizer
from harmony.tasks.moves import moved
from harmony.tasks.optimization import BuildOptimizer, halving


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
        optimizer: BuildOptimizer,
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
        self.val_mse = MeanMetric()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        draw = draws(self.seed, self.global_step, group.rank())
        if self.shift:
            batch = moved(batch, mirror=False, shift=self.shift, draw=draw)
        mse = self.loss(batch, draw)
        self.log("harmonizer/train_mse", mse, prog_bar=True, sync_dist=True)
        return mse

    def validation_step(self, batch: Batch, index: int) -> None:
        self.val_mse.update(self.loss(batch, draws(0, index)), len(batch["image"]))
        self.log(self.monitor, self.val_mse, prog_bar=True, on_epoch=True)

    def loss(self, batch: Batch, draw: Generator) -> Tensor:
        """255^2 mean of (alpha x + beta - truth)^2, x the corrupted slice; unclamped: gradients live."""
        truth, mask = batch["image"], batch["mask"]
        volume = batch["subject"].cpu() if self.per_volume else torch.arange(len(truth))
        drawn = self.corruption.draw(batch["position"].cpu(), volume, draw)
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
        return halving(self.optimizer(self.harmonizer.parameters()), self.halve_every)
