"""What a config and a command line may not do, refused before anything is read, trained or written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from harmony.app.ranges import refuse_out_of_range
from harmony.core import REFERENCE, ConfigError
from harmony.core.vocabulary import MEAN

# What a config may build: public classes and factories of the rooms, and these few of others. Anything else
# (`os.system`, `pathlib.Path.unlink`) is refused before a single object is made.
_ALLOWED = re.compile(
    r"harmony\.(data|distances|flows|judges|methods|networks|scanner|tasks)\.[A-Z]\w*"
    r"|harmony\.flows\.(spline_flow|harmonizing_flow)|harmony\.networks\.segmentation_unet|harmony\.methods\.chain"
    r"|torch\.optim\.[A-Z]\w*|lightning\.pytorch\.Trainer|lightning\.pytorch\.loggers\.(WandbLogger|CSVLogger)"
)

# Arguments that would read a config from outside the config folder.
_ELSEWHERE = re.compile(
    r"[+~]*(experiment|data|flow|task|method|judge|corruption|trainer|logger|published|stop|distance|guidance"
    r"|hydra/\w+)(@[\w.]*)?=(/|.*\.\.)"
    r"|.*hydra\.searchpath|--config|-c[dpn]|--e"  # --experimental-rerun unpickles a file
)


NEEDED = "needed"  # in `stages`: what the chosen methods and judges use

# A name that becomes a file or a folder.
_NAME = re.compile(r"\w[\w.+-]*")


def refuse_elsewhere(words: list[str]) -> None:
    for word in words:
        if _ELSEWHERE.match(word):
            raise ConfigError(f"{word}: '..' and configs from elsewhere are not allowed")


def refuse_foreign_targets(cfg: Any, allowed: re.Pattern[str] = _ALLOWED) -> None:
    """Raises ConfigError where a config names something to build that is not on the list."""
    found = next(foreign_targets(cfg, allowed), None)
    if found is not None:
        raise ConfigError(f"{found}: not something harmony may build")


def foreign_targets(cfg: Any, allowed: re.Pattern[str], where: str = "") -> Iterator[str]:
    """Every `_target_`, as `place._target_=value`, that is not `allowed`. cfg: a config, or plain dicts and lists."""
    if isinstance(cfg, DictConfig | dict):
        target = cfg.get("_target_")
        if target is not None and not allowed.fullmatch(str(target)):
            yield f"{where or 'config'}._target_={target}"
        for key, value in _values(cfg, list(cfg)):
            yield from foreign_targets(value, allowed, f"{where}.{key!s}".lstrip("."))
    elif isinstance(cfg, ListConfig | list):
        for _, value in _values(cfg, range(len(cfg))):
            yield from foreign_targets(value, allowed, where)


def _values(cfg: Any, keys: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """What is there: not what the command has yet to say."""
    for key in keys:
        if not (isinstance(cfg, DictConfig | ListConfig) and OmegaConf.is_missing(cfg, key)):
            yield key, cfg[key]


def refuse_impossible(cfg: DictConfig) -> None:
    """Refuse names that there are not, and settings that cannot go together."""
    _refuse_names(cfg)
    refuse_out_of_range(cfg)
    known = {
        "stages": [NEEDED, *cfg.tasks, "evaluate"],
        "methods": list(cfg.method),
        "evaluation.judges": list(cfg.judge),
        "data.query": [*cfg.data.scanners, *cfg.data.real, *cfg.data.groups],
    }
    for key, names in known.items():
        unknown = [name for name in OmegaConf.select(cfg, key) if name not in names]
        if unknown:
            raise ConfigError(f"{key}={unknown}: unknown; there are {', '.join(sorted(names))}")
    _refuse_real(cfg)
    _refuse_judges(cfg)
    for stage, task in cfg.tasks.items():
        if "query" in task and task.query not in cfg.data.scanners:
            scanners = ", ".join(cfg.data.scanners)
            raise ConfigError(f"tasks.{stage}.query={task.query}: unknown; there are {scanners}")
    height, width = cfg.data.preprocess.size
    unit = 2**cfg.flow.levels
    if height % unit or width % unit:
        fitting = f"[{-(-height // unit) * unit},{-(-width // unit) * unit}]"
        raise ConfigError(
            f"data.preprocess.size=[{height},{width}]: a flow of {cfg.flow.levels} levels needs sizes divisible by "
            f"{unit} -> use data.preprocess.size={fitting}"
        )


def _refuse_names(cfg: DictConfig) -> None:
    """Refuse names that become files and folders, and would leave the one that they belong to."""
    members = {"tasks": cfg.tasks, "method": cfg.method, "judge": cfg.judge}
    members |= {"data.scanners": cfg.data.scanners, "data.real": cfg.data.real}
    for where, name in [("name", cfg.name), *((where, name) for where, each in members.items() for name in each)]:
        if not _NAME.fullmatch(str(name)):
            raise ConfigError(f"{where}={name}: a name of a folder needs letters, digits, '_', '-', '+' or '.' alone")


def _refuse_judges(cfg: DictConfig) -> None:
    """A judge sees the harmonized image or, as a rival, the query, under its own name."""
    for name in cfg.evaluation.judges:
        sees = cfg.judge[name].sees
        if sees not in ("harmonized", "query"):
            raise ConfigError(f"judge.{name}.sees={sees}: a judge sees the harmonized image or the query")
        if sees == "query" and name in cfg.methods:
            raise ConfigError(f"judge.{name}: there is a method of this name -> name the judge otherwise")


def _refuse_real(cfg: DictConfig) -> None:
    """Refuse real query domains that are not said clearly, or would be adapted to but for the scans that are scored."""
    for name, node in cfg.data.real.items():
        where = f"data.real.{name}"
        if name in (REFERENCE, MEAN) or name in cfg.data.scanners:
            raise ConfigError(f"{where}: there is another domain of this name -> name it otherwise")
        said = isinstance(node, DictConfig) and set(node) == {"source", "paired"}
        if not said or not isinstance(node.source, DictConfig) or not isinstance(node.paired, bool):
            raise ConfigError(f"{where}: needs source: {{...}} and paired: true or false, and nothing else")
        missing = OmegaConf.missing_keys(node)  # merged over data.source they would quietly be the reference's
        if missing:
            raise ConfigError(f"{where}: the command must say {', '.join(f'{key}=' for key in sorted(missing))}")
        asked = cfg.evaluation
        if name in cfg.data.query and asked.adapt_on != asked.part:
            raise ConfigError(
                f"evaluation.adapt_on={asked.adapt_on}: all scans of {where} are scored, and there are no others to "
                f"adapt to -> use evaluation.adapt_on={asked.part}, or leave {name} out of data.query"
            )
