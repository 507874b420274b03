"""Flow pre-training: maximum likelihood on the reference domain, in bits per dimension."""

from __future__ import annotations

from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torchmetrics import MeanMetric

from harmony.core import group
from harmony.core.batch import Batch, draws
from harmony.core.reference import Reference
from harmony.data import SliceDataModule
from harmony.flows import ImageDensity
from harmony.tasks.guided import FlowGuidance
from harmony.tasks.moves import moved
from harmony.tasks.optimization import BuildOptimizer, falling, halving


class FlowTask(lightning.LightningModule):
    """Minimises the mean bits per dimension of reference slices, or the guided loss.

    network: the flow. compile: through torch.compile.
    optimizer: builds an optimizer from the parameters. Its rate falls to 0 along a cosine over `max_steps`, or is
        halved every `halve_every` steps.
    keeps: the weights that are best on validation, or the last ones. shift: of training slices, see `moved`.
    guided: shows the flow altered slices too, as what it shall find unlikely; None: likelihood alone.
    reference: the statistics of the scans that it is trained on; they are saved with it.
    seed: with the step number it gives the dequantization noise, so that a resumed run draws the same noise.
    """

    monitor = "flow/val_bpd"

    def __init__(
        self,
        *,
        network: ImageDensity,
        reference: Reference,
        optimizer: BuildOptimizer,
        max_steps: int,
        guided: FlowGuidance | None,
        compile: bool,
        seed: int,
        # Optional, so that a model of a task that does not name them is found again by its settings:
        halve_every: int | None = None,
        keeps: Literal["best", "last"] = "best",
        shift: int = 0,
    ) -> None:
        super().__init__()
        self.density, self.optimizer, self.max_steps = network, optimizer, max_steps
        self.reference, self.guided, self.seed = reference, guided, seed
        self.halve_every, self.keeps, self.shift = halve_every, keeps, shift
        self.val_bpd, self.val_bpd_altered, self.val_ordered = MeanMetric(), MeanMetric(), MeanMetric()
        self.acted = torch.zeros(())  # the largest share of altered slices with a gradient in any step
        if compile:
            self.density.transform.compile()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        if self.shift:
            batch = moved(batch, mirror=False, shift=self.shift, draw=draws(self.seed, self.global_step, group.rank()))
        if self.guided is None:  # the noise of the whole batch, of which the flow takes its rows
            bpd = self.density.bits_per_dim(batch["image"], draws(self.seed, self.global_step)).mean()
            self.log("flow/train_bpd", bpd, prog_bar=True, sync_dist=True)
            return bpd
        draw = draws(self.seed, self.global_step, group.rank())
        made = self.guided.step(self.density, batch["image"], batch["mask"], draw)
        self.log("flow/train_bpd", made.clean, prog_bar=True, sync_dist=True)
        self.log("flow/guidance_acts", made.acts, sync_dist=True)
        self.acted = torch.maximum(self.acted.to(made.acts), made.acts)
        return made.loss

    def validation_step(self, batch: Batch, index: int) -> None:
        """The bits per dimension of clean slices decides. For the record (guided): of altered ones, and the
        share of them that cost more than they did clean."""
        bpd = self.density.bits_per_dim(batch["image"])
        self.val_bpd.update(bpd.mean(), len(bpd))
        self.log(self.monitor, self.val_bpd, prog_bar=True, on_epoch=True)
        if self.guided is not None:
            image, label = self.guided.validation(batch["image"], batch["mask"], index)
            if (label < 0).any():
                altered = self.density.bits_per_dim(image[label < 0])
                self.val_bpd_altered.update(altered.mean(), len(altered))
                self.log("flow/val_bpd_altered", self.val_bpd_altered, on_epoch=True)
                self.val_ordered.update((altered > bpd[label < 0]).float().mean(), len(altered))
                self.log("flow/val_ordered", self.val_ordered, on_epoch=True)

    def on_train_end(self) -> None:
        if self.guided is not None and self.trainer.is_global_zero and not float(self.acted):
            print("flow: the guidance never acted: no altered slice had a gradient in any step; this flow is unguided")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["guidance_acted"] = float(self.acted)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.acted = torch.tensor(checkpoint.get("guidance_acted", 0.0))

    def finish(self, data: SliceDataModule) -> dict[str, Reference]:
        """What the flow learned from beside it, for the methods that use it: no image of theirs."""
        return {"reference": self.reference}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.density.parameters())
        if self.halve_every is not None:
            return halving(optimizer, self.halve_every)
        return falling(optimizer, self.max_steps)
