"""conf/ read as plain YAML: what can be asked of a command, and the comments that explain it.

Hydra composes these files when a command runs; it takes seconds to import, and help and a misspelt word should not.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Key = tuple[str, str, str]  # group ("" for conf/ itself), name, and the package that its content goes to
# As in harmony.app.configs, which makes two more configs of what there is: it would take seconds to import.
FAMILIES = {"task": "tasks", "method": "method", "judge": "judge"}  # family -> the key that its members stand under
MADE = {"families", "model_folders"}


@dataclass(frozen=True)
class Setting:
    """One line of a config: `name: default  # text`. group: of conf/, whose names it takes, or None."""

    name: str
    default: Any
    text: str
    group: str | None = None


@functools.cache
def conf_folder() -> Path:
    """The configs: beside `src` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parents[1]
    return next(conf for conf in (package / "conf", package.parents[1] / "conf") if conf.exists())


def groups() -> set[str]:
    """What a whole config can be chosen for."""
    return {folder.name for folder in conf_folder().iterdir() if folder.is_dir()}


@functools.cache
def choices(group: str) -> dict[str, str]:
    """The names of a group, each with the first sentence of its comment, else with what it says of itself."""
    return {path.stem: _explanation(path) for path in sorted((conf_folder() / group).glob("*.yaml"))}


def settings(config: str) -> list[Setting]:
    """What conf/<config>.yaml lets a user set, in its order; a mapping's members as `mapping.member`."""
    text = (conf_folder() / f"{config}.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    found: list[Setting] = []
    parent = None
    for line in text.splitlines():
        chosen = re.match(r"  - (\w+): (\S+)\s*(?:#\s*(.*))?$", line)
        if chosen and chosen[1] in groups():
            found.append(Setting(chosen[1], yaml.safe_load(chosen[2]), chosen[3] or "", chosen[1]))
        folders = re.match(r"  - model_folders\s*#\s*(.*)", line)
        if folders:
            found.append(Setting("models", {}, folders[1]))
        parsed = re.match(r"(  )?(\w+):(?: |$)(?:.*?#\s*(.*))?", line)
        if parsed is None:
            continue
        parent = parent if parsed[1] else parsed[2]
        if parent in ("defaults", "hydra"):
            continue
        found += _setting(content, parent if parsed[1] else None, parsed[2], parsed[3] or "")
    return found


def _setting(content: dict[str, Any], parent: str | None, name: str, text: str) -> list[Setting]:
    """None for a heading without an explanation, and for what Hydra fills in."""
    value = content[name] if parent is None else content[parent][name]
    if (isinstance(value, dict) and not text) or str(value).startswith("${hydra"):
        return []
    return [Setting(name if parent is None else f"{parent}.{name}", value, text)]


@functools.cache
def known_keys(config: str) -> frozenset[str]:
    """Every dotted key that some choice of names gives conf/<config>.yaml: more than one command has, never less."""
    keys: set[str] = set()
    seen: set[Key] = set()
    waiting: list[Key] = [("", config, "")]
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        group, name, package = key
        content, everywhere = _content(group, name)
        package = "" if everywhere else package
        parts = package.split(".")
        keys |= {".".join(parts[: k + 1]) for k in range(len(parts))} - {""}
        keys |= set(_dotted({name: value for name, value in content.items() if name != "defaults"}, package))
        waiting += [each for entry in content.get("defaults", []) for each in _chosen(entry, group, package)]
    return frozenset(keys)


def _dotted(content: dict[str, Any], package: str) -> Iterator[str]:
    for name, value in content.items():
        key = f"{package}.{name}".lstrip(".")
        yield key
        if isinstance(value, dict):
            yield from _dotted(value, key)


def _chosen(entry: str | dict[str, Any], here: str, package: str) -> list[Key]:
    """What an entry of a defaults list can bring in: groups, names and packages."""
    if isinstance(entry, str):  # a neighbour: `name`, `name@package`
        name, _, at = entry.partition("@")
        there = name in choices(here) or name in MADE
        return [(here, name, f"{package}.{at}".strip("."))] if there else []
    ((said, _),) = entry.items()
    group, _, at = said.removeprefix("override ").partition("@")
    group = group.lstrip("/") if group.startswith("/") or not here else f"{here}/{group}"
    into = f"{package}.{at or group.replace('/', '.')}".strip(".")
    return [(group, name, into) for name in choices(group)]


@functools.cache
def _content(group: str, name: str) -> tuple[dict[str, Any], bool]:
    """A config, and whether it goes to the top whatever the package."""
    if name in MADE and not group:
        return _made(name), False
    text = (conf_folder() / group / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text) or {}, re.match(r"#\s*@package _global_", text) is not None


def _made(name: str) -> dict[str, Any]:
    """families: every member of every family. model_folders: a folder for each stage but the flow."""
    if name == "families":
        return {
            "defaults": [{f"{family}@{at}.{one}": one} for family, at in FAMILIES.items() for one in choices(family)]
        }
    return {"models": {stage: None for stage in choices("task") if stage != "flow"}}


def _explanation(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    comment = _headline(text)
    says = "" if comment else (yaml.safe_load(text) or {}).get("says", "").strip()
    return "" if "${" in says else comment or says


def _headline(text: str) -> str:
    """The first sentence of a text's opening comment."""
    lines = [line for line in text.splitlines() if not line.startswith("# @")]
    said = itertools.takewhile(lambda line: line.startswith("#"), lines)
    whole = " ".join(line.lstrip("# ").strip() for line in said)
    return re.split(r"(?<=\.) (?=[A-Z])", whole)[0].partition(" python -m ")[0]
