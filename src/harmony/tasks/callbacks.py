"""What every training run does beside training: stop when told to, show pictures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from harmony.core import group, interrupts
from harmony.core.batch import Batch
from harmony.core.checkpoints import before
from harmony.core.curves import add_to_curves
from harmony.core.files import atomic_path
from harmony.tasks.flow import FlowTask


class StopOnSignal(lightning.Callback):
    """After a signal: save a checkpoint between two steps, then leave with the shell's exit code. Of several processes
    all leave after the same step, whichever of them got the signal.

    every: steps between validations. Where one is due, it and the step after it come first: a run that resumed there
    would skip that validation, and with it perhaps the best one.
    """

    def __init__(self, checkpoint: Path, every: int) -> None:
        self.checkpoint, self.every = checkpoint, every

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        interrupts.watch()  # Lightning has just put its own handler in place, which ends the process with exit code 0

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: object) -> None:
        validation_due = self.every > 1 and trainer.global_step % self.every == 0
        signum = group.greatest(interrupts.received(), trainer.strategy.root_device)
        if signum and not validation_due:
            trainer.save_checkpoint(self.checkpoint)
            raise interrupts.Interrupted(signum)


class LastCheckpoint(Checkpoint):
    """The whole state at each validation. (Lightning's own `save_last` writes it at those alone that were the best so
    far: a run would go on from an old one, and a task that keeps the last weights would get those.)"""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.save_checkpoint(self.path)


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints are written whole or not at all, and the one before `last.ckpt` is kept: see `core.checkpoints`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        with atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)
            if path.name == "last.ckpt" and path.exists():
                path.replace(before(path))


class ProgressLines(lightning.Callback):
    """One line per validation: the step, every logged metric, the pace. For output that is not a terminal."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.first, self.begin = trainer.global_step, time.monotonic()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        metrics = "  ".join(f"{name} {float(value):.4f}" for name, value in sorted(trainer.callback_metrics.items()))
        pace = (time.monotonic() - self.begin) / max(trainer.global_step - self.first, 1)
        print(f"  step {trainer.global_step}/{trainer.max_steps}  {metrics}  {pace:.2f} s/step", flush=True)


class CurveFile(lightning.Callback):
    """Every logged metric at each validation into a CSV (see `core.curves`), for the figure of the training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        add_to_curves(self.path, trainer.global_step, values)


class FlowPictures(lightning.Callback):
    """At each validation: validation slices, their reconstructions f^-1(f(x)), and samples of the flow."""

    def __init__(self, *, count: int, temperature: float) -> None:
        self.count, self.temperature = count, temperature
        self.shown: Tensor | None = None

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: Batch,
        *_: object,
    ) -> None:
        if self.shown is None:
            self.shown = batch["image"][: self.count]

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        log_image = getattr(trainer.logger, "log_image", None)
        if trainer.sanity_checking or self.shown is None or log_image is None or not isinstance(pl_module, FlowTask):
            return
        density = pl_module.density
        height, width = self.shown.shape[2:]
        noise = torch.Generator().manual_seed(0)
        pictures = {
            "slices": self.shown,
            "reconstructions": density.decode(density.encode(self.shown).z).clamp(0, 1),
            "samples": density.sample(self.count, height, width, self.temperature, noise),
        }
        for name, images in pictures.items():
            log_image(key=f"flow/{name}", images=[image_row(images)], step=trainer.global_step)


def image_row(images: Tensor) -> Tensor:
    """(B, 1, H, W) with H left-right and W posterior-anterior -> (1, W, B * H) with the front of the head up."""
    return torch.cat(list(images.transpose(2, 3).flip(2)), dim=2).cpu()
