"""Flow pre-training: maximum likelihood on the reference domain, in bits per dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR

from harmony.flows import ImageDensity
from harmony.tasks.guided import Guidance
from harmony.tasks.judges import moved

Batch = dict[str, Tensor]
PROCESS = 1 << 40  # apart: the seeds of the processes that train together


class FlowTask(lightning.LightningModule):
    """Minimises the mean bits per dimension of reference slices, or the guided loss.

    network: the flow. compile: through torch.compile.
    optimizer: builds an optimizer from the parameters. Its rate falls to 0 along a cosine over `max_steps`, or is
        halved every `halve_every` steps.
    keeps: the weights that are best on validation, or the last ones. shift: of training slices, see `moved`.
    guided: shows the flow altered slices too, as what it shall find unlikely; None: likelihood alone.
    seed: with the step number it gives the dequantization noise, so that a resumed run draws the same noise.
    """

    monitor = "flow/val_bpd"

    def __init__(
        self,
        *,
        network: ImageDensity,
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
        max_steps: int,
        guided: Guidance | None,
        compile: bool,
        seed: int,
        # Optional, so that a model of a task that does not name them is found again by its settings:
        halve_every: int | None = None,
        keeps: Literal["best", "last"] = "best",
        shift: int = 0,
    ) -> None:
        super().__init__()
        self.density, self.optimizer, self.max_steps, self.guided, self.seed = (
            network,
            optimizer,
            max_steps,
            guided,
            seed,
        )
        self.halve_every, self.keeps, self.shift = halve_every, keeps, shift
        if compile:
            self.density.transform.compile()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + self.global_step)
        if self.shift:
            batch = moved(batch, mirror=False, shift=self.shift, draw=draw)
        if self.guided is None:
            bpd = self.density.bits_per_dim(batch["image"], draw).mean()
            self.log("flow/train_bpd", bpd, prog_bar=True, sync_dist=True)
            return bpd
        draw.manual_seed(draw.initial_seed() + self.global_rank * PROCESS)
        image, label = self.guided.training(batch["image"], batch["mask"], draw)
        bpd = self.density.bits_per_dim(image, draw)
        self.log("flow/train_bpd", bpd[label > 0].mean(), prog_bar=True, sync_dist=True)
        return self.guided.loss(bpd, label)

    def validation_step(self, batch: Batch, index: int) -> None:
        """The bits per dimension of clean slices decides; of altered ones (guided) is for the record."""
        bpd = self.density.bits_per_dim(batch["image"])
        self.log("flow/val_bpd", bpd.mean(), prog_bar=True, batch_size=len(bpd), on_epoch=True)
        if self.guided is not None:
            image, label = self.guided.validation(batch["image"], batch["mask"], index)
            if (label < 0).any():
                altered = self.density.bits_per_dim(image[label < 0])
                self.log("flow/val_bpd_altered", altered.mean(), batch_size=len(altered), on_epoch=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.density.parameters())
        schedule: LRScheduler = CosineAnnealingLR(optimizer, T_max=self.max_steps)
        if self.halve_every is not None:
            schedule = StepLR(optimizer, self.halve_every, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
