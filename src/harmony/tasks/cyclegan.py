"""CycleGAN (Zhu et al. 2017, arXiv 1703.10593): a map between two scanners, and its inverse, from unpaired slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric

from harmony.core.batch import Batch, draws
from harmony.networks import PatchCritic, Translator
from harmony.tasks.image_buffer import ImageBuffer
from harmony.tasks.optimization import BuildOptimizer, stepwise

TERMS = ("adversarial", "cycle", "identity", "critics", "loss")


class CycleGanTask(lightning.LightningModule):
    """G maps the query scanner to the reference, F back; the critics D_r and D_q learn to tell their images from real.

        L(G, F) = |D_r(G(q)) - 1|^2 + |D_q(F(r)) - 1|^2
                  + cycle (|F(G(q)) - q| + |G(F(r)) - r|) + identity (|G(r) - r| + |F(q) - q|)
        L(D)    = (|D(real) - 1|^2 + |D(generated)|^2) / 2,   generated: also of the past (ImageBuffer)

    Squares are means over patches, |.| means over the brain. Here r and q never show the same subject in training, and
    nowhere is an image compared with its twin.

    network: G, all that harmonizing needs; inverse: F; critic: builds D_r and D_q.
    buffer: images of the past. max_steps: the rate is constant for half of them, then falls linearly to 0.
    seed: with the step number it gives the buffers' chance, so that a resumed run draws the same.
    """

    monitor = "cyclegan/val_loss"
    keeps = "last"  # as published: cycle and identity losses are 0 where nothing is done, so they can choose nothing

    def __init__(
        self,
        *,
        network: Translator,
        inverse: Translator,
        critic: Callable[[], PatchCritic],
        optimizer: BuildOptimizer,
        cycle: float,
        identity: float,
        buffer: int,
        max_steps: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.network, self.inverse = network, inverse
        self.critics = nn.ModuleDict({"reference": critic(), "query": critic()})
        self.past = nn.ModuleDict({"reference": ImageBuffer(buffer), "query": ImageBuffer(buffer)})
        self.optimizer, self.cycle, self.identity = optimizer, cycle, identity
        self.max_steps, self.seed = max_steps, seed
        self.val = nn.ModuleDict({term: MeanMetric() for term in TERMS})

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """L(G, F) + L(D_r) + L(D_q). Neither reaches the other's weights, so one Adam over all is the paper's two."""
        draw = draws(self.seed, self.global_step)
        self.critics.requires_grad_(False)
        made, losses = self.generator_losses(batch)
        self.critics.requires_grad_(True)
        shown = {scanner: self.past[scanner](image, draw) for scanner, image in made.items()}
        losses["critics"] = self.critics_loss(batch, shown)
        for name, loss in losses.items():
            self.log(f"cyclegan/train_{name}", loss)
        return self.weighted(losses) + losses["critics"]

    def validation_step(self, batch: Batch, _: int) -> None:
        made, losses = self.generator_losses(batch)
        losses |= {"critics": self.critics_loss(batch, made), "loss": self.weighted(losses)}
        for name, loss in losses.items():
            metric = cast(MeanMetric, self.val[name])
            metric.update(loss, len(batch["image"]))
            self.log(f"cyclegan/val_{name}", metric, on_epoch=True)

    def generator_losses(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The generated images of each scanner; the terms of L(G, F), not yet weighted."""
        r, in_r, q, in_q = batch["image"], batch["mask"], batch["query"], batch["query_mask"]
        to_r, to_q, critics = self.network, self.inverse, self.critics
        made = {"reference": to_r(q, in_q), "query": to_q(r, in_r)}
        cycled_q, cycled_r = to_q(made["reference"], in_q), to_r(made["query"], in_r)
        return made, {
            "adversarial": torch.stack([_squared(critics[s](image) - 1) for s, image in made.items()]).sum(),
            "cycle": (cycled_q - q)[in_q].abs().mean() + (cycled_r - r)[in_r].abs().mean(),
            "identity": (to_r(r, in_r) - r)[in_r].abs().mean() + (to_q(q, in_q) - q)[in_q].abs().mean(),
        }

    def weighted(self, losses: dict[str, Tensor]) -> Tensor:
        """L(G, F)."""
        return losses["adversarial"] + self.cycle * losses["cycle"] + self.identity * losses["identity"]

    def critics_loss(self, batch: Batch, made: dict[str, Tensor]) -> Tensor:
        """L(D_r) + L(D_q)."""
        real = {"reference": batch["image"], "query": batch["query"]}
        losses = [_squared(self.critics[s](real[s]) - 1) + _squared(self.critics[s](made[s])) for s in made]
        return torch.stack(losses).sum() / 2

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.parameters())
        return stepwise(LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / self.max_steps))))


def _squared(x: Tensor) -> Tensor:
    return x.square().mean()
