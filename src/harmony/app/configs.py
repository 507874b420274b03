"""Where the configs are, and what is composed from the files in their folders rather than from a list of names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

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
    """The names of a family: its files, and its entries in variants.yaml."""
    files = [path.stem for path in Path(folder or conf_folder(), family).glob("*.yaml")]
    return sorted({*files, *_variants(folder).get(family, {})})


def store_families(folder: str | None = None) -> None:
    """Give Hydra two configs that are made of the files there are in `folder` (None: harmony's own).

    families: every member of every family, a part of config.yaml. model_folders: the stages whose networks a method may
    need beside the flow, a part of harmonize.yaml. Each entry of variants.yaml becomes a config of its group, as if it
    were a file of the group's folder.
    """
    variants = _variants(folder)
    for group, listed in variants.items():
        for name, node in listed.items():
            ConfigStore.instance().store(name, node, group=group)
    families: dict[str, Any] = {"defaults": []}
    for family, key in FAMILIES.items():
        files = {path.stem: _plain(path) for path in Path(folder or conf_folder(), family).glob("*.yaml")}
        nodes = files | variants.get(family, {})
        for name in sorted(nodes):
            others, values = _member(family, nodes, name)
            families["defaults"] += [{f"{group}@{key}.{name}.{at}": chosen} for (group, at), chosen in others.items()]
            families.setdefault(key, {})[name] = values
    families["defaults"].append("_self_")
    models = {stage: None for stage in members("task", folder) if stage != "flow"}
    for name, node in {"families": families, "model_folders": {"models": models}}.items():
        ConfigStore.instance().store(name, node)


def _member(family: str, nodes: dict[str, dict[str, Any]], name: str) -> tuple[dict[tuple[str, str], str], Any]:
    """The configs of groups that a member takes in, (group, place) -> name, and its own values, both with those of the
    member that it builds on.

    Hydra would find the same, of each member again and again: it would take more than half of the time of composing.
    """
    own = dict(nodes[name])
    others: dict[tuple[str, str], str] = {}
    values: Any = {}
    for each in own.pop("defaults", ["_self_"]):
        word, chosen = next(iter(each.items())) if isinstance(each, dict) else (each, None)
        group, _, place = word.removeprefix("override ").removeprefix("/").partition("@")
        if place:
            others[(group if chosen else family), place] = chosen or group
        elif word != "_self_":
            others, values = _member(family, nodes, word)
    return others, OmegaConf.to_container(OmegaConf.merge(values, own))


def expand_groups(cfg: DictConfig) -> None:
    """Names of `data.groups` in `data.query` -> the scanners of the group, in their place, each once."""
    if set(cfg.data.query) & set(cfg.data.groups):
        found = [each for name in cfg.data.query for each in cfg.data.groups.get(name, [name])]
        cfg.data.query = list(dict.fromkeys(found))


def _variants(folder: str | None) -> dict[str, dict[str, Any]]:
    return _plain(Path(folder or conf_folder(), "variants.yaml"))


def _plain(path: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(path)))


# ${without:${data.real},${data.sites}}: every query site but the reference's own.
OmegaConf.register_new_resolver(
    "without", lambda names, left_out: ListConfig([n for n in names if n not in (left_out or ())]), replace=True
)
store_families()
