"""Which method a model is asked for where nobody says one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from harmony.app.configs import conf_folder
from harmony.core.best import BEST_FIRST, best_of

__all__ = ["BEST_FIRST", "best_method", "choose"]


def best_method(stages: Collection[str]) -> str:
    """The first of `BEST_FIRST` whose trained networks are all among the stages of a model."""
    return best_of(method_config, stages)


def choose(cfg: DictConfig, stages: Collection[str]) -> None:
    """Fill `method` and `method_name` of a config of `harmonize` that says neither."""
    if cfg.method_name is None:
        cfg.method_name = best_method(stages)
        with open_dict(cfg):
            cfg.method = method_config(cfg.method_name)


def method_config(name: str) -> DictConfig:
    """A method of conf/method that builds on no other."""
    node = OmegaConf.load(Path(conf_folder(), "method", f"{name}.yaml"))
    assert isinstance(node, DictConfig)
    return node
