"""Train what an experiment needs, then evaluate it: python -m harmony.train experiment=quickstart"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from omegaconf import DictConfig, OmegaConf

from harmony import __version__, app
from harmony.core import ConfigError
from harmony.core.checkpoints import read_checkpoint, resumable
from harmony.core.curves import read_curves
from harmony.core.group import share_batch_statistics
from harmony.core.interrupts import Interrupted
from harmony.core.machine import device
from harmony.core.manifest import one_contrast
from harmony.core.model_card import ModelCard, domain, sha256
from harmony.core.models import resolve_model
from harmony.core.reference import Reference
from harmony.core.runs import RunFolder
from harmony.data import SliceDataModule
from harmony.evaluate import evaluate
from harmony.reports import curves_figure
from harmony.tasks import CurveFile, LastCheckpoint, ProgressLines, StopOnSignal, WholeCheckpoints


def train(cfg: DictConfig) -> app.Runs:
    """Run the stages of the experiment in order; a stage that is done with the same config is reused."""
    runs: app.Runs = {}
    app.refuse_unlabelled(cfg, cfg.stages)
    for stage in cfg.stages:
        runs |= evaluate(cfg) if stage == "evaluate" else {stage: train_stage(cfg, stage)}
    return runs


def train_stage(cfg: DictConfig, stage: str) -> Path:
    """Fit one network into its own run folder: model.safetensors, config, summary, checkpoints. Returns the folder."""
    data = app.build_data(cfg, cfg.tasks[stage])
    run = app.model_run(cfg, data, stage)
    with app.alone(run):
        if run.done:
            ModelCard.verify(run.path)
            print(f"{stage}: {run.path} is done (validation {run.summary()['score']:.3f}), reused")
        else:
            train_network(cfg, stage, data, run)
    return run.path


def train_network(cfg: DictConfig, stage: str, data: SliceDataModule, run: RunFolder) -> None:
    """Train from the last checkpoint, if there is one, and leave a finished run folder."""
    node = cfg.tasks[stage]
    contrast = one_contrast(data.split()["train"])
    print(f"{stage}: {'resuming' if resumable(last(run)) else 'training'} in {run.path}", flush=True)
    if not app.rank():
        run.begin(OmegaConf.to_yaml(cfg, resolve=True))
    lightning.seed_everything(cfg.seed, verbose=False)
    network = app.build(node.network)
    if node.get("start"):  # weights to begin with, of a trained model of the same network
        app.load_weights(network, started_from(cfg, stage) / "model.safetensors")
    reference = Reference.of(data.volumes("train"), **app.plain(cfg.reference))
    task = app.build_task(node.module, network=network, reference=reference)
    log = app.open_log(cfg, app.experiment_run(cfg, data))
    begin = time.monotonic()
    try:
        best = fit(cfg, node, task, data, run, log)
    except Interrupted:
        if not app.rank():
            run.interrupt()
        raise
    if app.rank():
        return  # of several processes one writes
    kept = last(run) if keeps_last(task) else last(run).with_stem("best")
    task.load_state_dict(read_checkpoint(kept)["state_dict"])
    for name, learned in finished(task, data).items():
        learned.save(run.path / f"{name}.safetensors")
    score = save_model(network, task, best, data, run, contrast)
    log.model(run.path)
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
    cfg: DictConfig, node: DictConfig, task: Any, data: SliceDataModule, run: RunFolder, log: app.ExperimentLog
) -> ModelCheckpoint:
    """Lightning's fit from the last checkpoint, if there is one, to `max_steps`; keeps the best on validation."""
    checkpoint = last(run)
    best = ModelCheckpoint(checkpoint.parent, "best", monitor=task.monitor, mode="min", enable_version_counter=False)
    every = min(node.val_every, node.max_steps)
    trainer = app.build(cfg.trainer)(
        max_steps=node.max_steps,
        precision=node.get("precision", cfg.trainer.precision),
        gradient_clip_val=node.get("gradient_clip_val", cfg.trainer.gradient_clip_val),  # null: none
        val_check_interval=every,
        check_val_every_n_epoch=None,
        callbacks=[
            best,
            LastCheckpoint(checkpoint),  # after the best one, of which it knows
            StopOnSignal(checkpoint, every),
            *(app.build(each) for each in node.callbacks),
            progress_bar(),
            CurveFile(run.path / "curves.csv"),
        ],
        plugins=[WholeCheckpoints()],
        logger=log.logger,
        default_root_dir=run.path,
        enable_progress_bar=sys.stdout.isatty(),
        use_distributed_sampler=False,  # the data module deals out the training batch; all validate on everything
    )
    if trainer.world_size > 1:
        refuse_uneven(node.batch_size, trainer.world_size)
        share_batch_statistics(task)
    trainer.fit(task, datamodule=data, ckpt_path=resumable(checkpoint), weights_only=True)
    if trainer.world_size > 1:
        torch.distributed.destroy_process_group()
    return best


def started_from(cfg: DictConfig, stage: str) -> Path:
    """The run folder of the model that `tasks.STAGE.start` names, a file, a folder or a name of `harmony models`."""
    model = resolve_model(cfg.tasks[stage].start, runs=Path(cfg.runs), cache=Path(cfg.cache).expanduser())
    return model.stages.get(stage, model.home)


def refuse_uneven(batch_size: int, processes: int) -> None:
    if batch_size % processes:
        raise ConfigError(
            f"batch_size={batch_size}: not divisible by {processes} processes -> use "
            f"tasks....batch_size={-(-batch_size // processes) * processes}"
        )


def save_model(
    network: torch.nn.Module, task: Any, best: ModelCheckpoint, data: SliceDataModule, run: RunFolder, contrast: str
) -> float:
    """Weights, card and the figure of the training. Returns the validation score of the weights."""
    curves = read_curves(run.path / "curves.csv")
    curves_figure(run.path / "figures" / "curves.png", curves, title=run.path.name)
    reached = curves[task.monitor][-1][1] if keeps_last(task) else best.best_model_score
    score = float("nan") if reached is None else float(reached)
    app.save_weights(network, run.path / "model.safetensors")
    ModelCard(
        name=run.path.name,
        version=__version__,
        preprocess=data.preprocess.settings(),
        reference=dict(domain(data.split()["train"])),
        score={task.monitor: score},
        weights=sha256(run.path / "model.safetensors"),
        contrast=contrast,
        count=data.count,
        step=data.step,
    ).save(run.path)
    return score


def finished(task: Any, data: SliceDataModule) -> Mapping[str, Any]:
    """What the task learns beside its weights, now that they are chosen: name -> what can `save` itself."""
    finish = getattr(task.to(device()), "finish", None)
    return {} if finish is None else finish(data)


def last(run: RunFolder) -> Path:
    """The checkpoint that an interrupted training goes on from."""
    return run.path / "checkpoints" / "last.ckpt"


def keeps_last(task: Any) -> bool:
    """Whether the last validated weights are the result, not those that `monitor` finds best."""
    return getattr(task, "keeps", "best") == "last"


def progress_bar() -> lightning.Callback:
    """A live bar on a terminal; in a log file a line per validation."""
    return RichProgressBar() if sys.stdout.isatty() else ProgressLines()


main = app.entry_point(train)

if __name__ == "__main__":
    main()
