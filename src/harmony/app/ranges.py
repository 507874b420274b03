"""Numbers that a config may say: what no training or evaluation could use is refused before either begins."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from harmony.core import ConfigError

PARTS = ("train", "val", "test")


class Range(NamedTuple):
    """least, most: both allowed. kind: int takes no fraction. may_be_null: null has a meaning."""

    least: float
    most: float = math.inf
    kind: type = int
    may_be_null: bool = False


_WHOLE, _SEED = Range(1), Range(0, 2**32 - 1)
_KEYS = {
    "seed": _SEED,
    "data.split_seed": _SEED,
    "data.step": _WHOLE,
    "data.count": _WHOLE._replace(may_be_null=True),
    "data.preprocess.spacing": Range(0.1, 20, float),
    "data.preprocess.percentile": Range(1, 100, float),
    "data.preprocess.size": Range(1, 4096),
    "flow.levels": Range(1, 12),
    "flow.bits": Range(1, 24),
    "reference.positions": Range(2),
    "reference.quantiles": Range(2),
    "evaluation.subjects": _WHOLE._replace(may_be_null=True),
    "evaluation.figure_subjects": Range(0),
    "evaluation.lesion_ring": Range(0, kind=float),
}
_OF_A_TASK = {"max_steps": _WHOLE, "batch_size": _WHOLE, "val_every": _WHOLE}


def refuse_out_of_range(cfg: DictConfig) -> None:
    """Raises ConfigError, with the key, for a number that is none or cannot be used, and for parts that are none."""
    every = _KEYS | {f"tasks.{stage}.{key}": range for stage in cfg.tasks for key, range in _OF_A_TASK.items()}
    for key, allowed in every.items():
        value = OmegaConf.select(cfg, key, default=None)
        if value is None and (allowed.may_be_null or key.startswith("flow.")):  # a flow of one's own may have none
            continue
        for each in value if OmegaConf.is_list(value) else [value]:
            if not _within(each, allowed):
                raise ConfigError(f"{key}={value}: needs {_words(allowed)}")
    _refuse_shares(cfg)
    for key in ("evaluation.part", "evaluation.adapt_on"):
        if OmegaConf.select(cfg, key) not in PARTS:
            raise ConfigError(f"{key}={OmegaConf.select(cfg, key)}: unknown; there are {', '.join(PARTS)}")
    if len(cfg.data.preprocess.size) != 2:
        raise ConfigError(f"data.preprocess.size={cfg.data.preprocess.size}: needs two numbers, rows and columns")


def _refuse_shares(cfg: DictConfig) -> None:
    shares = cfg.data.shares
    values = [shares[part] for part in shares]
    said = f"data.shares={{{','.join(f'{part}:{shares[part]}' for part in shares)}}}"
    if sorted(shares) != sorted(PARTS):
        raise ConfigError(f"{said}: the parts are {', '.join(PARTS)}")
    usable = all(_within(value, Range(0, 1, float)) for value in values)
    if not usable or not math.isclose(sum(values), 1, abs_tol=1e-6):
        raise ConfigError(f"{said}: needs numbers from 0 to 1 that add up to 1")
    if not shares.train:
        raise ConfigError(f"{said}: nobody to train on")


def _within(value: Any, allowed: Range) -> bool:
    return (
        isinstance(value, int if allowed.kind is int else (int, float))
        and not isinstance(value, bool)
        and allowed.least <= value <= allowed.most
    )


def _words(allowed: Range) -> str:
    what = "a whole number" if allowed.kind is int else "a number"
    most = f" to {allowed.most:.10g}" if allowed.most < math.inf else " on"
    return f"{what} from {allowed.least:g}{most}{', or null' if allowed.may_be_null else ''}"
