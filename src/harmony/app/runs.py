"""Which run is which: folders that are found again by what decides their content, and the weights in them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig
from safetensors.torch import save_file

from harmony import __version__
from harmony.app.best import choose
from harmony.app.build import build_data, models_wanted, parts_wanted, plain, real_scans
from harmony.core import CheckpointError, Scan
from harmony.core.files import atomic_path
from harmony.core.locks import claim
from harmony.core.models import resolve_model
from harmony.core.reference import VERSION as REFERENCE_VERSION
from harmony.core.reference import Reference
from harmony.core.runs import RunFolder, content_key, fingerprint
from harmony.delivery import Applied
from harmony.delivery.loading import Wanted, load_beside, load_run

if TYPE_CHECKING:
    from harmony.data import SliceDataModule

Runs = dict[str, Path]  # stage, or evaluate -> run folder

# Trainer settings that say where to train, and not what comes out but for rounding: no part of a model's fingerprint.
_MACHINE = ("accelerator", "devices", "num_nodes", "strategy")
_MACHINE_DEFAULTS = {"accelerator": "auto", "devices": 1}


@dataclass(frozen=True)
class Models:
    """The trained models of an experiment. networks: by stage, frozen and in eval mode, and what a stage learned beside
    its network, by STAGE/NAME. reference, reference_bpd: what
    the flow was trained on, and how likely held-out images of it are. names, summaries: of the run folders, by stage.
    """

    networks: Mapping[str, Any]
    reference: Reference
    reference_bpd: float
    names: dict[str, str]
    summaries: dict[str, Any]


def model_run(cfg: DictConfig, data: SliceDataModule, stage: str) -> RunFolder:
    """Where the model of this stage is, or will be: found by what decides its weights, wherever the files lie."""
    if cfg.tasks[stage].get("labels") is not None:
        data = build_data(cfg, cfg.tasks[stage])
    query = cfg.tasks[stage].get("query")
    settings = {
        "version": __version__,
        "seed": cfg.seed,
        "task": plain(cfg.tasks[stage]) | ({"scanner": plain(cfg.data.scanners[query])} if query else {}),
        "trainer": {key: plain(cfg.trainer)[key] for key in cfg.trainer if key not in _MACHINE} | _MACHINE_DEFAULTS,
        "reference": [plain(cfg.reference), REFERENCE_VERSION],
        "data": data_identity(cfg, data),
    }
    return RunFolder(Path(cfg.runs).expanduser() / "models" / f"{stage}-{fingerprint(settings)}")


def experiment_run(cfg: DictConfig, data: SliceDataModule) -> RunFolder:
    """The folder of this experiment: config, results, figures, log."""
    chosen = {name: plain(cfg.method[name]) for name in cfg.methods}
    settings = {
        "models": [model_run(cfg, data, stage).path.name for stage in models_wanted(cfg)],
        "methods": [list(cfg.methods), chosen],
        "evaluation": plain(cfg.evaluation),
        "slices": "all",  # before, the middle ones were scored: those evaluations are others
        "judges": {name: plain(cfg.judge[name]) for name in cfg.evaluation.judges},
        "query": [plain(cfg.data.query), plain(cfg.data.scanners)],
    }
    real = [name for name in cfg.data.query if name in cfg.data.real]
    if real:
        settings["real"] = {
            name: [cfg.data.real[name].paired, [scan_identity(scan) for scan in real_scans(cfg, name)]] for name in real
        }
    return RunFolder(Path(cfg.runs).expanduser() / cfg.name / f"seed{cfg.seed}-{fingerprint(settings)}")


def data_identity(cfg: DictConfig, data: SliceDataModule) -> dict[str, Any]:
    """What is in the data, not where: every scan of each part with its files' content, and how it is preprocessed."""
    return {
        "preprocess": data.preprocess.settings(),
        "slices": [cfg.data.count, cfg.data.step],
        "scans": {part: [scan_identity(scan) for scan in scans] for part, scans in data.split().items()},
    }


def scan_identity(scan: Scan) -> list[Any]:
    files = [path for path in (scan.path, scan.mask, scan.labels, scan.lesions) if path is not None]
    return [scan.name, scan.age, *(content_key(path) if path.is_file() else None for path in files)]


def rank() -> int:
    """Of the processes that train together (DDP): this one's number. Only 0 prints, writes, evaluates."""
    lightning = sys.modules.get("lightning.pytorch.utilities")  # without it there is no group
    return 0 if lightning is None else int(getattr(lightning.rank_zero_only, "rank", 0))


def alone(run: RunFolder) -> AbstractContextManager[bool]:
    """Hold a run's folder: another process that wants the same run waits, then finds it done. A group holds it once."""
    return nullcontext(True) if rank() else claim(run.path / ".lock", wait=True)


def load_models(cfg: DictConfig, data: SliceDataModule) -> Models:
    """The models that the chosen methods and judges use."""
    runs = {stage: model_run(cfg, data, stage) for stage in models_wanted(cfg)}
    networks = {stage: load_network(cfg, data, stage) for stage in runs} | load_beside(
        parts_wanted(cfg), {stage: run.path for stage, run in runs.items()}
    )
    summaries = {stage: run.summary() for stage, run in runs.items()}
    return Models(
        networks=networks,
        reference=Reference.load(runs["flow"].path / "reference.safetensors"),
        reference_bpd=summaries["flow"]["score"],
        names={stage: run.path.name for stage, run in runs.items()},
        summaries=summaries,
    )


def load_network(cfg: DictConfig, data: SliceDataModule, stage: str) -> torch.nn.Module:
    """The trained network of a stage, frozen and in eval mode."""
    run = model_run(cfg, data, stage)
    if not run.done:
        raise CheckpointError(
            f"{run.path}: no finished {stage} for this configuration -> train it first: "
            f"python -m harmony.train experiment={cfg.name} 'stages=[{stage}]' with the same overrides"
        )
    return load_run(run.path, stage)


def load_applied(cfg: DictConfig) -> Applied:
    """The chosen method, or the best that the model serves, from run folders alone: `model` of the flow, `models` of
    what else it needs; where that says nothing, what came packed with the flow."""
    model = resolve_model(cfg.model, runs=Path(cfg.runs).expanduser(), cache=Path(cfg.cache).expanduser())
    said = {stage: Path(path).expanduser() for stage, path in cfg.models.items() if path is not None}
    folders = {**model.stages, **said}
    choose(cfg, folders)
    return Wanted(
        model=model.name,
        home=model.home,
        folders=folders,
        method=cfg.method_name,
        node=plain(cfg.method),
        only_plausible=cfg.only_plausible,
        scored=cfg.bits_per_dim,
    ).load()


def save_weights(module: torch.nn.Module, path: Path) -> None:
    """The weights as safetensors: they hold no code, so a stranger's file is safe to load."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, temporary)
