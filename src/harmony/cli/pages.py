"""The help pages: explanations come from the comments of conf/."""

from __future__ import annotations

import textwrap

from harmony import __version__
from harmony.cli.commands import COMMANDS, Command
from harmony.cli.configs import Setting, choices, settings
from harmony.cli.installed import served_methods

WIDTH = 110


def overview() -> str:
    """`harmony --help`: a line a command."""
    wide = max(map(len, COMMANDS))
    lines = [f"  {name:{wide}}  {command.line}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"harmony {__version__}: maps brain MRI of any scanner into the domain of one reference scanner",
            "",
            "usage: harmony COMMAND [WORDS]",
            "",
            *lines,
            "",
            "`harmony COMMAND --help` says what a command takes. --version: the version.",
        ]
    )


def page(name: str, command: Command) -> str:
    """`harmony NAME --help` of a command with a config."""
    assert command.config is not None
    shown = settings(command.config)
    places = [(place.name, place.text) for place in command.places]
    placed = {place.key for place in command.places}
    top = [setting for setting in shown if setting.name not in placed and ("." not in setting.name or setting.text)]
    usage = " ".join(place.name if place.must else f"[{place.name}]" for place in command.places)
    parts = [
        f"usage: harmony {name} {usage} [--name value ...] [key=value ...]".replace("  ", " "),
        command.text,
        *([_table(places)] if places else []),
        "settings (key=value; those without a dot also as --name value):\n"
        + _table([(_default(setting), setting.text) for setting in top]),
        *(_choices(group, name) for group in _groups(command, top)),
        *(["--json: everything as JSON, for machines"] if "--json" in command.flags else []),
        *(["--for harmonize|train|study: what the data are for"] if "--for" in command.values else []),
        "Every key of conf/ may follow, and Hydra's -m, --cfg job, --info, --resolve.",
        "examples:\n" + "\n".join(f"  {example}" for example in command.examples),
    ]
    return "\n\n".join(parts)


def _groups(command: Command, shown: list[Setting]) -> list[str]:
    """The folders of conf/ whose names the command takes."""
    own = [place.key for place in command.places if place.key == "experiment"]
    return [*own, *(setting.group for setting in shown if setting.group not in (None, "experiment", "published"))]


def _choices(group: str, command: str) -> str:
    """The names of a group. `harmonize` needs no more than it has for those that an installed model serves."""
    there = choices(group)
    if (command, group) != ("harmonize", "method"):
        return f"{group}:\n" + _table(list(there.items()))
    served = served_methods()
    others = ", ".join(name for name in there if name not in served)
    more = textwrap.wrap(f"With a model of your own that has their networks (harmony models pack): {others}.", WIDTH)
    return "\n".join([f"{group}:", _table([item for item in there.items() if item[0] in served]), *more])


def _default(setting: Setting) -> str:
    if setting.default == "???":
        return setting.name
    if isinstance(setting.default, dict):
        return f"{setting.name}.NAME"
    if isinstance(setting.default, list):
        return f"{setting.name}=[{','.join(each if isinstance(each, str) else '...' for each in setting.default[:4])}]"
    if setting.default is None or isinstance(setting.default, bool):
        return f"{setting.name}={'null' if setting.default is None else str(setting.default).lower()}"
    return f"{setting.name}={setting.default}"


def _table(rows: list[tuple[str, str]]) -> str:
    """Names on the left, their text on the right; a long name has a line of its own."""
    wide = min(max((len(name) for name, _ in rows), default=0), 34)
    lines = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, WIDTH - wide - 4) or [""]
        long = len(name) > wide
        lines += [f"  {name}"] if long else []
        heads = ["" if long else name, *("" for _ in wrapped[1:])]
        lines += [f"  {head:{wide}}  {part}".rstrip() for head, part in zip(heads, wrapped, strict=True)]
    return "\n".join(lines)
