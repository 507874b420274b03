"""The experiment's log, the same for every logger: numbers in all, tables, pictures and weights where it takes them."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from omegaconf import DictConfig

from harmony.app.build import build, plain
from harmony.app.runs import rank
from harmony.core import Row
from harmony.core.runs import RunFolder
from harmony.core.vocabulary import TRAINING

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger, WandbLogger

_SECONDS = 5.0  # that the W&B server has to answer


class ExperimentLog(ABC):
    """logger: the one that Lightning's trainer writes to."""

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def results(self, rows: Sequence[Row], folder: Path) -> None:
        """The means of an evaluation; what lies in its run folder, where the log takes it."""
        from harmony.analysis import result_table

        table = result_table(rows)
        means = table.query_means() | table.flat_means()
        self.logger.log_metrics({f"result/{key}": value for key, value in means.items()})
        self._evaluation(rows, folder)
        self.logger.finalize("success")

    @abstractmethod
    def model(self, run: Path) -> None:
        """A trained model: its weights with card, config and reference statistics, from its run folder."""

    @abstractmethod
    def _evaluation(self, rows: Sequence[Row], folder: Path) -> None: ...


class NumbersLog(ExperimentLog):
    """A logger that takes numbers only, such as the CSV file."""

    def model(self, run: Path) -> None:
        pass

    def _evaluation(self, rows: Sequence[Row], folder: Path) -> None:
        pass


class WandbLog(ExperimentLog):
    """Weights & Biases: everything."""

    logger: WandbLogger

    def model(self, run: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name in ("model.safetensors", "reference.safetensors", "model_card.json", "config.yaml"):
                if (run / name).exists():
                    shutil.copy(run / name, folder)
            self.logger.experiment.log_artifact(folder, name=run.name, type="model")

    def _evaluation(self, rows: Sequence[Row], folder: Path) -> None:
        values: list[list[Any]] = [list(vars(row).values()) for row in rows]
        self.logger.log_table(key="results", columns=list(Row.__annotations__), data=values)
        for figure in sorted((folder / "figures").glob("*.png")):
            self.logger.log_image(key=f"figures/{figure.stem}", images=[str(figure)])
        for domain in sorted((folder / "panels").glob("*")):
            self._panels(folder, domain.name)

    def _panels(self, folder: Path, domain: str) -> None:
        """The drawn slices as pictures side by side, with the brain mask to lay over them."""
        from harmony.reports import read_brain, read_panels

        panels = [
            (str(path), f"{name}, {subject}", {"brain": {"mask_data": brain, "class_labels": {1: "brain"}}})
            for subject, pictures in read_panels(folder, domain).items()
            for brain in [read_brain(folder, domain, subject)]
            for name, path in sorted(pictures.items(), key=lambda item: (item[0] != "query", item[0] == "truth"))
        ]
        images, captions, masks = (list(column) for column in zip(*panels, strict=True))
        self.logger.log_image(key=f"panels/{domain}", images=images, caption=captions, masks=masks)


def open_log(cfg: DictConfig, run: RunFolder) -> ExperimentLog:
    """The log of an experiment, in its run folder. W&B is offline without a key, and goes on in the same run after a
    resume."""
    from lightning.pytorch.loggers import WandbLogger

    make = build(cfg.logger)
    if make.func is not WandbLogger:
        return NumbersLog(make(save_dir=str(run.path), name="log"))
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_DATA_DIR", str(Path(cfg.runs).expanduser().absolute() / ".wandb"))
    run.path.mkdir(parents=True, exist_ok=True)
    identity = f"{cfg.name}-{run.path.name}"
    logger = _opened(
        partial(
            make,
            name=identity,
            id=identity,
            save_dir=str(run.path),
            config=plain(cfg),
            group=cfg.name,
            tags=[
                cfg.name,
                f"data:{cfg.data.source._target_.split('.')[-1].lower()}",
                f"seed:{cfg.seed}",
                *cfg.methods,
            ],
        )
    )
    for name, metric in TRAINING.items():  # the best validation is what runs are sorted by; the step is the optimizer's
        best = {"lower": "min", "higher": "max", None: "last"}[metric.better] if "/val_" in name else "last"
        logger.experiment.define_metric(name, step_metric="trainer/global_step", summary=best)
    return WandbLog(logger)


def _opened(make: partial[WandbLogger]) -> WandbLogger:
    """A logger whose run has begun: online with a key and a server that takes it, else offline."""
    from wandb.errors import Error

    for offline in (not os.environ.get("WANDB_API_KEY") or not _reached(), True):
        logger = make(offline=offline)
        logger._wandb_init.pop("anonymous", None)  # Lightning sets it, and W&B warns of it at every start
        try:
            logger.experiment  # noqa: B018 - begins the run
        except Error as error:
            if offline:
                raise
            print(f"W&B: {' '.join(str(error).split())}: the log goes on offline", flush=True)
        else:
            break
    return logger


def _reached() -> bool:
    """Whether the W&B server, or the proxy that stands before it, can be connected to; says so where it cannot."""
    server = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    proxy = None if proxy_bypass(server.hostname or "") else getproxies().get(server.scheme)
    host = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else server
    try:
        port = host.port or (443 if host.scheme == "https" else 80)
        socket.create_connection((host.hostname or "", port), timeout=_SECONDS).close()
    except (OSError, ValueError) as error:
        if not rank():
            print(f"W&B: {server.hostname} cannot be reached ({error}): the log goes on offline", flush=True)
        return False
    return True


def close_logs() -> None:
    """Close the W&B run, if there is one: the next job of a sweep is a run of its own. An offline one can be seen."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        folder, offline = Path(wandb.run.dir).parents[1], wandb.run.offline
        wandb.finish()
        if offline and not rank():
            print(f"to see the log: wandb leet {folder}; to upload it: wandb sync {folder}/offline-run-*")
