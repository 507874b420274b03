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

Key = tuple[Path, str]  # a file, and the package that its content goes to


@dataclass(frozen=True)
class Setting:
    """One line of a config: `name: default  # text`. group: the folder of conf/ whose names it takes, or None."""

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
    """The folders of conf/: what a whole file can be chosen for."""
    return {folder.name for folder in conf_folder().iterdir() if folder.is_dir()}


def choices(group: str) -> dict[str, str]:
    """The names of a folder of conf/, each with the first line of its explanation."""
    return {path.stem: _headline(path) for path in sorted((conf_folder() / group).glob("*.yaml"))}


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
    """Every dotted key that some choice of files gives conf/<config>.yaml: more than one command has, never less."""
    keys: set[str] = set()
    seen: set[Key] = set()
    waiting: list[Key] = [(conf_folder() / f"{config}.yaml", "")]
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        path, package = key
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text) or {}
        if re.match(r"#\s*@package _global_", text):
            package = ""
        parts = package.split(".")
        keys |= {".".join(parts[: k + 1]) for k in range(len(parts))} - {""}
        keys |= set(_dotted({name: value for name, value in content.items() if name != "defaults"}, package))
        waiting += [file for entry in content.get("defaults", []) for file in _files(entry, path, package)]
    return frozenset(keys)


def _dotted(content: dict[str, Any], package: str) -> Iterator[str]:
    for name, value in content.items():
        key = f"{package}.{name}".lstrip(".")
        yield key
        if isinstance(value, dict):
            yield from _dotted(value, key)


def _files(entry: str | dict[str, Any], path: Path, package: str) -> list[Key]:
    """The files that an entry of a defaults list can bring in, with their packages."""
    here = path.parent.relative_to(conf_folder()).as_posix()
    if isinstance(entry, str):  # a neighbour: `name`, `name@package`
        name, _, at = entry.partition("@")
        neighbour = path.parent / f"{name}.yaml"
        return [(neighbour, f"{package}.{at}".strip("."))] if neighbour.exists() else []
    ((said, _),) = entry.items()
    group, _, at = said.removeprefix("override ").partition("@")
    group = group.lstrip("/") if group.startswith("/") or here == "." else f"{here}/{group}"
    into = f"{package}.{at or group.replace('/', '.')}".strip(".")
    return [(file, into) for file in (conf_folder() / group).glob("*.yaml")]


def _headline(path: Path) -> str:
    """The first sentence of a file's opening comment."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @")]
    said = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = " ".join(line.lstrip("# ").strip() for line in said)
    return re.split(r"(?<=\.) (?=[A-Z])", text)[0].partition(" python -m ")[0]
