"""Which method a model is asked for where nobody says one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from harmony.app.configs import conf_folder
from harmony.core.runs import stages_of

# The best first, by the records (experiments/ixi_inversion, ixi_unseen, ixi_random); the last one needs no network.
BEST_FIRST = ("scanner_inversion", "histogram_matching")


def best_method(stages: Collection[str]) -> str:
    """The first of `BEST_FIRST` whose trained networks are all among the stages of a model."""
    return next(name for name in BEST_FIRST if set(stages_of(method_config(name))) <= set(stages))


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
