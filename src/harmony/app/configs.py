"""Where the configs are, and the two of them that list files: a member of a family is in the config by being there."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf

import harmony

# Family -> the key of the config under which all its members stand.
FAMILIES = {"task": "tasks", "method": "method", "judge": "judge"}


def conf_folder() -> str:
    """The configs: beside `src` in a checkout, inside the package in a wheel."""
    package = Path(harmony.__file__).parent
    return str(next(conf for conf in (package / "conf", package.parents[1] / "conf") if conf.exists()))


def members(family: str, folder: str | None = None) -> list[str]:
    """The names of a family: its files."""
    return sorted(path.stem for path in Path(folder or conf_folder(), family).glob("*.yaml"))


def store_families(folder: str | None = None) -> None:
    """Give Hydra two configs that name the files there are in `folder` (None: harmony's own); composing is Hydra's.

    families: a defaults list of every member of every family, a part of config.yaml. model_folders: the stages whose
    networks a method may need beside the flow, a part of harmonize.yaml.
    """
    defaults = [f"{family}/{name}@{key}.{name}" for family, key in FAMILIES.items() for name in members(family, folder)]
    models = {stage: None for stage in members("task", folder) if stage != "flow"}
    for name, node in {"families": {"defaults": defaults}, "model_folders": {"models": models}}.items():
        ConfigStore.instance().store(name, node)


def expand_groups(cfg: DictConfig) -> None:
    """Names of `data.groups` in `data.query` -> the scanners of the group, in their place, each once."""
    if set(cfg.data.query) & set(cfg.data.groups):
        found = [each for name in cfg.data.query for each in cfg.data.groups.get(name, [name])]
        cfg.data.query = list(dict.fromkeys(found))


# ${without:${data.real},${data.sites}}: every query site but the reference's own.
OmegaConf.register_new_resolver(
    "without", lambda names, left_out: ListConfig([n for n in names if n not in (left_out or ())]), replace=True
)
store_families()
