"""Train what an experiment needs, then evaluate it: python -m harmony.train experiment=quickstart"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from harmony import app
from harmony.core.files import atomic_path
from harmony.core.interrupts import Interrupted
from harmony.core.reference import Reference
from harmony.core.runs import RunFolder
from harmony.data import SliceDataModule
from harmony.evaluate import evaluate
from harmony.tasks import FlowPictures, ProgressLines, StopOnSignal


def train(cfg: DictConfig) -> None:
    """Run the stages of the experiment; a stage that is done with the same config is reused."""
    data = app.build_data(cfg)
    run = app.experiment_run(cfg, data)
    if "flow" in cfg.stages:
        train_flow(cfg, data, run)
    if "evaluate" in cfg.stages:
        evaluate(cfg)


def train_flow(cfg: DictConfig, data: SliceDataModule, experiment: RunFolder) -> RunFolder:
    """Fit the flow into its own run folder: model.safetensors, reference.safetensors, config, summary, checkpoints."""
    run = app.flow_run(cfg, data)
    if run.done:
        print(f"flow: {run.path} is done (val {run.summary()['val_bpd']:.3f} bpd), reused")
        return run
    last = run.path / "checkpoints" / "last.ckpt"
    print(f"flow: {'resuming' if last.exists() else 'training'} in {run.path}")
    run.begin(OmegaConf.to_yaml(cfg, resolve=True))
    lightning.seed_everything(cfg.seed, verbose=False)
    density = app.build(cfg.flow)
    task = app.build(cfg.tasks.flow.module, density=density)()
    logger = app.build_logger(cfg, experiment)
    checkpoints = ModelCheckpoint(
        last.parent, "best", monitor=task.monitor, mode="min", save_last=True, save_weights_only=False
    )
    callbacks = [checkpoints, StopOnSignal(last), FlowPictures(**app.plain(cfg.tasks.flow.pictures)), progress_bar()]
    trainer = app.build(cfg.trainer)(
        max_steps=cfg.tasks.flow.max_steps,
        val_check_interval=min(cfg.tasks.flow.val_every, cfg.tasks.flow.max_steps),
        check_val_every_n_epoch=None,
        callbacks=callbacks,
        logger=logger,
        default_root_dir=run.path,
        enable_progress_bar=sys.stdout.isatty(),
    )
    begin = time.monotonic()
    if cfg.tasks.flow.compile:
        density.transform.compile()
    try:
        trainer.fit(task, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
    except Interrupted:
        run.interrupt()
        raise
    val_bpd = float(checkpoints.best_model_score or torch.nan)
    best = torch.load(checkpoints.best_model_path, map_location="cpu", weights_only=True)
    task.load_state_dict(best["state_dict"])
    save_model(run.path / "model.safetensors", density)
    Reference.of(data.volumes("train"), **app.plain(cfg.reference)).save(run.path / "reference.safetensors")
    run.finish(flow_summary(cfg, data, density, val_bpd, best, time.monotonic() - begin))
    print(f"flow: done, {val_bpd:.3f} bpd on held-out subjects, saved in {run.path}")
    return run


def flow_summary(
    cfg: DictConfig,
    data: SliceDataModule,
    density: torch.nn.Module,
    val_bpd: float,
    best: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    return {
        "val_bpd": val_bpd,
        "best_step": best["global_step"],
        "parameters": sum(p.numel() for p in density.parameters()),
        "subjects": {part: len(scans) for part, scans in data.split().items()},
        "seed": cfg.seed,
        "seconds": round(seconds, 1),
    }


def save_model(path: Path, module: torch.nn.Module) -> None:
    """The weights as safetensors: they hold no code, so a stranger's file is safe to load."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, temporary)


def progress_bar() -> lightning.Callback:
    """A live bar on a terminal; in a log file a line per validation."""
    return RichProgressBar() if sys.stdout.isatty() else ProgressLines()


main = app.entry_point(train)

if __name__ == "__main__":
    main()
