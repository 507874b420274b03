"""What stands between composing a config and obeying it: Hydra builds nothing of a config that was not looked at.

A config file may come from a stranger, the command line is the user's. `hydra.*` starts programs, sets environments and
writes files, long before a checked config reaches an entry point: it is what harmony's own config file says, or what
the command says. The same goes for the folders that are written to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harmony.app.configs import conf_folder
from harmony.app.guard import foreign_targets, refuse_elsewhere
from harmony.core import ConfigError

# What starts a sweep's jobs, and what chooses them; Optuna comes with a class for its sampler.
_BUILDS = re.compile(
    r"hydra\._internal\.core_plugins\.basic_(launcher\.BasicLauncher|sweeper\.BasicSweeper)"
    r"|hydra_plugins\.hydra_submitit_launcher\.submitit_launcher\.(Slurm|Local)Launcher"
    r"|hydra_plugins\.hydra_optuna_sweeper\.optuna_sweeper\.OptunaSweeper|optuna\.samplers\.\w+"
    r"|harmony\.app\.sweep\.Summary"
)
_NO_LOG = {"version": 1, "root": None, "disable_existing_loggers": False}
# Settings that run something, set something or write somewhere, and what they are unless the command says otherwise.
_HYDRAS_OWN: dict[str, Any] = {
    "callbacks": {},
    "run.dir": None,
    "sweep.dir": "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}",
    "sweep.subdir": "${hydra.job.num}",
    "output_subdir": None,
    "job.chdir": None,
    "job.env_set": {},
    "job.env_copy": [],
    "searchpath": [],
    "hydra_logging": _NO_LOG,
    "job_logging": _NO_LOG,
    "launcher.setup": None,
    "launcher.additional_parameters": {},
    "launcher.submitit_folder": "${hydra.sweep.dir}/.submitit/%j",
    "sweeper.custom_search_space": None,
    "sweeper.storage": None,
}
_NOT_SWEPT = re.compile(
    r"[+~]*(hydra([./].*)?|runs|cache|data(\.cache|(\.source|\.real(\.\w+(\.source)?)?)(\.folder)?)?)"
)
_GROUPS = (  # each before what is in it
    *("data", "data.source", "data.preprocess", "data.shares", "data.real", "data.scanners", "data.groups", "tasks"),
    *("method", "judge", "flow", "reference", "evaluation", "trainer", "logger"),
)
_LOGGER = {"_target_", "_partial_", "project", "entity", "log_model"}  # others send the key of W&B to another server


def refuse_strange(cfg: DictConfig, page: str, said: Sequence[str]) -> None:
    """cfg: composed, `hydra` included. page: the name of the config file that it is made of. said: the keys that the
    command names. Raises ConfigError."""
    words: dict[str, Any] = OmegaConf.to_container(cfg, resolve=False)  # type: ignore[assignment]
    own: dict[str, Any] = OmegaConf.to_container(  # type: ignore[assignment]
        OmegaConf.load(Path(conf_folder(), f"{page}.yaml")), resolve=False
    )
    for key in _GROUPS:
        if not isinstance(_at(own, key), str):  # the page itself has one value there: reference of a study
            _refuse_flat(key, words)
    for family in ("tasks", "judge", "data.scanners", *(["method"] if page == "config" else [])):
        for name in _at(words, family) or {}:
            _refuse_flat(f"{family}.{name}", words)
    hydra = words["hydra"]
    _refuse_params(_at(hydra, "sweeper.params") or {})
    for key, usual in _HYDRAS_OWN.items():
        expected = _at(own, f"hydra.{key}")
        _refuse_unsaid(f"hydra.{key}", _at(hydra, key), usual if expected is None else expected, said)
    built = {key: value for key, value in hydra.items() if key not in ("help", "hydra_help")}
    foreign = next(foreign_targets(built, _BUILDS), None)
    if foreign is not None:
        raise ConfigError(f"hydra.{foreign}: not something harmony may start")
    _refuse_hidden({key: _at(hydra, key) for key in ("launcher", "sweeper", "job.name")})
    for key in ("runs", "cache"):
        _refuse_unsaid(key, words.get(key), own.get(key), said)
    _refuse_folders(cfg, words, said)
    more = sorted(set(words.get("logger") or {}) - _LOGGER)
    if more:
        raise ConfigError(f"logger.{more[0]}: not a setting of the log; there are {', '.join(sorted(_LOGGER))}")


def _refuse_flat(key: str, words: Mapping[str, Any]) -> None:
    """Refuse one value in place of a group of settings, where there is such a group."""
    group, _, name = key.rpartition(".")
    holder = _at(words, group) if group else words
    if isinstance(holder, Mapping) and name in holder and not isinstance(holder[name], Mapping):
        raise ConfigError(f"{key}={holder[name]}: one value in place of a group of settings -> {key}.NAME=")


def _refuse_hidden(started: Mapping[str, Any]) -> None:
    """Refuse what would become a line of its own in the script that SLURM runs, and references: what they stand for was
    not looked at."""
    for key, value in _leaves(started):
        text = str(value)
        if not text.isprintable():
            raise ConfigError(f"hydra.{key}: more than one line of text")
        if "${" in text and text not in (_HYDRAS_OWN.get(key), "${hydra.job.name}"):
            raise ConfigError(f"hydra.{key}={text}: only plain values")


def refuse_other_types(key: str, before: Any, after: Any) -> None:
    """An override keeps the kind of what it overrides: a number (or null), a switch, a list. Raises ConfigError."""
    if isinstance(after, str) and "${" in after:
        return
    kinds: tuple[tuple[type | tuple[type, ...], type | tuple[type, ...], str], ...] = (
        (bool, bool, "true or false"),
        ((int, float), (int, float), "a number"),
        ((ListConfig, list), (ListConfig, list), "a list"),
    )
    for kind, allowed, name in kinds:
        if isinstance(before, kind):
            wrong = isinstance(after, bool) and kind is not bool
            if after is not None and (wrong or not isinstance(after, allowed)):
                raise ConfigError(f"{key}={after}: not {name} -> it is {before} where nothing is said")
            return


def _refuse_params(params: Mapping[str, Any]) -> None:
    """What is swept over becomes words of a command that nobody typed."""
    refuse_elsewhere([f"{key}={value}" for key, value in params.items()])
    for key in params:
        if _NOT_SWEPT.fullmatch(key):
            raise ConfigError(f"hydra.sweeper.params.{key}: not something to sweep over")


def _refuse_unsaid(key: str, found: Any, usual: Any, said: Sequence[str]) -> None:
    """Refuse a value that is neither the usual one nor the command's, leaf by leaf."""
    if found is None or found == {}:
        return
    expected = dict(_leaves({key: usual}))
    for leaf, value in _leaves({key: found}):
        if leaf in expected and expected[leaf] == value:
            continue
        if not any(leaf == word or leaf.startswith(f"{word}.") for word in said):
            raise ConfigError(f"{leaf}={value}: not for a config file to say -> say it on the command line")


def _refuse_folders(cfg: DictConfig, words: Mapping[str, Any], said: Sequence[str]) -> None:
    """What data write below must be below the cache."""
    data: Mapping[str, Any] = words.get("data") or {}
    real = [f"data.real.{name}.source.folder" for name in data.get("real") or {}]
    for key in ("data.cache", "data.source.folder", *real):
        if _at(words, key) is None or any(key == word or key.startswith(f"{word}.") for word in said):
            continue
        path, cache = (Path(str(OmegaConf.select(cfg, each))).expanduser().absolute() for each in (key, "cache"))
        if ".." in path.parts or not path.is_relative_to(cache):
            raise ConfigError(f"{key}={path}: not below cache={cache} -> say it on the command line")


def _at(words: Any, key: str) -> Any:
    for part in key.split("."):
        words = words.get(part) if isinstance(words, Mapping) else None
    return words


def _leaves(words: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in words.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


def _watched(apply: Callable[[list[Any], DictConfig], None]) -> Callable[[list[Any], DictConfig], None]:
    """Hydra's last step of composing a config: it hands out none that was not looked at."""

    def watched(overrides: list[Any], cfg: DictConfig) -> None:
        before = [_value(cfg, each.key_or_group) for each in overrides]
        apply(overrides, cfg)
        for each, value in zip(overrides, before, strict=True):
            if not each.key_or_group.startswith(("hydra.", "trainer.")) and not each.is_delete():
                refuse_other_types(each.key_or_group, value, _value(cfg, each.key_or_group))
        refuse_strange(cfg, _page(cfg), [each.key_or_group for each in overrides])

    return watched


def _page(cfg: DictConfig) -> str:
    """Which of the config files this one is made of, by what only that one has."""
    keys = set(cfg.keys())  # `in` says no to what the command has yet to say
    if "input" in keys:
        return "study" if "reference" in keys else "reference" if "licence" in keys else "harmonize"
    return "dashboard" if "sections" in keys else "config"


def _value(cfg: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException:  # it depends on something that is not there, or not yet
        return None


def _mode_of_words(ask: Callable[..., Any]) -> Callable[..., Any]:
    """Run or sweep, before anything is composed: None, where only `-m` tells, unless the words name it. Hydra composes
    the whole config for it, and then again for the run."""

    def mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        named = any("hydra.mode" in word for word in overrides)
        return ask(hydra, config_name, overrides) if named else None

    return mode


# The only private functions of Hydra that are used here, of a version that pyproject.toml pins (1.3). Its public hooks
# come too late: callbacks, launchers and sweepers are built from the config that is to be looked at, and a sweep
# composes one for each job, in that job's process, and obeys its `hydra` before the job's own code is called.
Hydra.get_mode = _mode_of_words(Hydra.get_mode)  # type: ignore[method-assign]
_looking = _watched(ConfigLoaderImpl._apply_overrides_to_config)
ConfigLoaderImpl._apply_overrides_to_config = staticmethod(_looking)  # type: ignore[method-assign, assignment]
