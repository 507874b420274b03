"""Train what an experiment needs, then evaluate it: python -m harmony.train experiment=quickstart"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from harmony import __version__, app
from harmony.core import ConfigError
from harmony.core.contrasts import one_contrast
from harmony.core.curves import read_curves
from harmony.core.files import atomic_path
from harmony.core.interrupts import Interrupted
from harmony.core.model_card import ModelCard, domain, sha256
from harmony.core.reference import Reference
from harmony.core.runs import RunFolder
from harmony.data import SliceDataModule
from harmony.evaluate import evaluate
from harmony.flows import ImageDensity
from harmony.networks import share_batch_statistics
from harmony.reports import curves_figure
from harmony.tasks import CurveFile, ProgressLines, StopOnSignal


def train(cfg: DictConfig) -> app.Runs:
    """Run the stages of the experiment in order; a stage that is done with the same config is reused."""
    runs: app.Runs = {}
    for stage in cfg.stages:
        runs |= evaluate(cfg) if stage == "evaluate" else {stage: train_stage(cfg, stage)}
    return runs


def train_stage(cfg: DictConfig, stage: str) -> Path:
    """Fit one network into its own run folder: model.safetensors, config, summary, checkpoints. Returns the folder."""
    node = cfg.tasks[stage]
    data = app.build_data(cfg, node)
    run = app.model_run(cfg, data, stage)
    with app.alone(run):
        train_network(cfg, stage, data, run)
    return run.path


def train_network(cfg: DictConfig, stage: str, data: SliceDataModule, run: RunFolder) -> None:
    node = cfg.tasks[stage]
    if run.done:
        print(f"{stage}: {run.path} is done (validation {run.summary()['score']:.3f}), reused")
        return
    last = run.path / "checkpoints" / "last.ckpt"
    print(f"{stage}: {'resuming' if last.exists() else 'training'} in {run.path}", flush=True)
    if not app.rank():
        run.begin(OmegaConf.to_yaml(cfg, resolve=True))
    lightning.seed_everything(cfg.seed, verbose=False)
    network = app.build(node.network)
    reference = Reference.of(data.volumes("train"), **app.plain(cfg.reference))
    task = app.build_task(node.module, network=network, reference=reference)
    begin = time.monotonic()
    try:
        best = fit(cfg, node, task, data, run, last)
    except Interrupted:
        if not app.rank():
            run.interrupt()
        raise
    if app.rank():
        return  # of several processes one writes
    kept = last.parent / ("last.ckpt" if keeps_last(task) else "best.ckpt")
    task.load_state_dict(torch.load(kept, map_location="cpu", weights_only=True)["state_dict"])
    save_model(run.path / "model.safetensors", network)
    if isinstance(network, ImageDensity):
        reference.save(run.path / "reference.safetensors")
    curves = read_curves(run.path / "curves.csv")
    curves_figure(run.path / "figures" / "curves.png", curves, title=run.path.name)
    reached = curves[task.monitor][-1][1] if keeps_last(task) else best.best_model_score
    score = float("nan") if reached is None else float(reached)
    ModelCard(
        name=run.path.name,
        version=__version__,
        preprocess=data.preprocess.settings(),
        reference=dict(domain(data.split()["train"])),
        score={task.monitor: score},
        weights=sha256(run.path / "model.safetensors"),
        contrast=one_contrast(data.split()["train"]),
    ).save(run.path)
    log_model(cfg, data, run)
    run.finish(
        {
            "monitor": task.monitor,
            "score": score,
            "parameters": sum(p.numel() for p in network.parameters()),
            "subjects": {part: len(scans) for part, scans in data.split().items()},
            "seed": cfg.seed,
            "seconds": round(time.monotonic() - begin, 1),
        }
    )
    print(f"{stage}: done, {task.monitor} {score:.3f} on held-out subjects, saved in {run.path}", flush=True)


def fit(
    cfg: DictConfig, node: DictConfig, task: Any, data: SliceDataModule, run: RunFolder, last: Path
) -> ModelCheckpoint:
    """Lightning's fit from the last checkpoint, if there is one, to `max_steps`; keeps the best on validation."""
    best = ModelCheckpoint(
        last.parent, "best", monitor=task.monitor, mode="min", save_last=True, enable_version_counter=False
    )
    every = min(node.val_every, node.max_steps)
    trainer = app.build(cfg.trainer)(
        max_steps=node.max_steps,
        precision=node.get("precision", cfg.trainer.precision),
        val_check_interval=every,
        check_val_every_n_epoch=None,
        callbacks=[
            best,
            StopOnSignal(last, every),
            *(app.build(each) for each in node.callbacks),
            progress_bar(),
            CurveFile(run.path / "curves.csv"),
        ],
        logger=app.build_logger(cfg, app.experiment_run(cfg, data)),
        default_root_dir=run.path,
        enable_progress_bar=sys.stdout.isatty(),
        use_distributed_sampler=False,  # the data module deals out the training batch; all validate on everything
    )
    if trainer.world_size > 1:
        if node.batch_size % trainer.world_size:
            raise ConfigError(
                f"batch_size={node.batch_size}: not divisible by {trainer.world_size} processes -> use "
                f"tasks....batch_size={-(-node.batch_size // trainer.world_size) * trainer.world_size}"
            )
        share_batch_statistics(task)
    trainer.fit(task, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
    if trainer.world_size > 1:
        torch.distributed.destroy_process_group()
    return best


def keeps_last(task: Any) -> bool:
    """Whether the last validated weights are the result, not those that `monitor` finds best."""
    return getattr(task, "keeps", "best") == "last"


def save_model(path: Path, module: torch.nn.Module) -> None:
    """The weights as safetensors: they hold no code, so a stranger's file is safe to load."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, temporary)


def log_model(cfg: DictConfig, data: SliceDataModule, run: RunFolder) -> None:
    """The weights with their card, config and reference statistics into the experiment's log."""
    logger = app.build_logger(cfg, app.experiment_run(cfg, data))
    if not hasattr(logger, "log_table"):
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in ("model.safetensors", "reference.safetensors", "model_card.json", "config.yaml"):
            if (run.path / name).exists():
                shutil.copy(run.path / name, folder)
        logger.experiment.log_artifact(folder, name=run.path.name, type="model")


def progress_bar() -> lightning.Callback:
    """A live bar on a terminal; in a log file a line per validation."""
    return RichProgressBar() if sys.stdout.isatty() else ProgressLines()


main = app.entry_point(train)

if __name__ == "__main__":
    main()
