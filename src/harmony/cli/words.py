"""What was typed -> the words of Hydra for the same entry point, or a UsageError that says what was meant.

Nothing here runs anything: `translate` is a function of its words (and of which paths exist).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from harmony.cli.commands import Command, Place
from harmony.cli.configs import choices, groups, known_keys, settings
from harmony.cli.mistakes import UsageError, unknown

# Hydra's own options: name -> whether a value follows.
HYDRA = {"-m": False, "--multirun": False, "--resolve": False, "--cfg": True, "--info": True}
# The last part of a key.
PATHS = {"input", "output", "model", "mask", "bids_filter_file", "runs", "cache", "root", "labels", "lesions"}
OVERRIDE = re.compile(r"([+~]*)([A-Za-z_][\w./]*)(@[\w.:]*)?=(.*)", re.DOTALL)
DELETION = re.compile(r"~[A-Za-z_][\w.@]*")
NAMES = re.compile(r"\w+(,\w+)*")
SWITCHED = ("true", "false", "null")
SAID = re.compile(r"""\[.*\]|\{.*\}|".*"|'.*'|null|.*\$\{.*""", re.DOTALL)  # values that are Hydra's grammar already


def translate(name: str, command: Command, typed: Sequence[str]) -> list[str]:
    """Words for Hydra. Raises UsageError for an option, choice, key or path that there is none of."""
    assert command.config is not None
    words: list[str] = []
    plain: list[str] = []
    rest = list(typed)
    sweep = bool({"-m", "--multirun"} & set(rest))
    while rest:
        word = rest.pop(0)
        if word in command.flags:
            words.append(word)
        elif word.split("=")[0] in command.values:
            words += [word, *_value_of(word, rest, "=" not in word)]
        elif word.split("=")[0] in HYDRA:
            words += [word, *_value_of(word, rest, HYDRA[word.split("=")[0]] and "=" not in word)]
        elif word.startswith("-") and word != "-":
            words.append(_option(command, word, rest))
        elif _is_override(word):
            words.append(override(command.config, word, sweep=sweep))
        else:
            plain.append(word)
    words = [*_placed(name, command, plain, words), *words]
    if name == "check" and plain and not any(word.startswith("data=") for word in words):
        words.insert(0, "data=bids")
    return words


def _is_override(word: str) -> bool:
    """A path may hold a `=`: what lies on the disk is a path."""
    return bool(OVERRIDE.fullmatch(word) or DELETION.fullmatch(word)) and not os.path.exists(word)


def _value_of(word: str, rest: list[str], wanted: bool) -> list[str]:
    if not wanted:
        return []
    if not rest:
        raise UsageError(f"{word}: a value must follow")
    return [rest.pop(0)]


def options(command: Command) -> dict[str, str]:
    """--name -> the setting it stands for: the top level of the config, and the groups that it chooses from."""
    assert command.config is not None
    placed = {place.key for place in command.places}
    names = [setting.name for setting in settings(command.config) if "." not in setting.name]
    return {f"--{name.replace('_', '-')}": name for name in names if name not in placed}


def _option(command: Command, word: str, rest: list[str]) -> str:
    """`--skip-bad`, `--skip-bad false`, `--method X`, `--method=X` as an override."""
    assert command.config is not None
    said, equals, value = word.partition("=")
    known = options(command)
    if said not in known:
        raise unknown("option", said, [*known, *command.flags, *command.values, *HYDRA])
    setting = next(each for each in settings(command.config) if each.name == known[said])
    switch = isinstance(setting.default, bool) or setting.name in command.switches
    if switch and not equals:
        value = rest.pop(0).lower() if rest and rest[0].lower() in SWITCHED else "true"
    elif not equals:
        value = _value_of(word, rest, True)[0]
    if setting.name in command.labels and not SAID.fullmatch(value):
        value = f"[{','.join(quoted(label.strip()) for label in value.split(','))}]"
    elif isinstance(setting.default, list) and not value.startswith("["):
        value = f"[{value}]"
    return override(command.config, f"{setting.name}={value}", sweep=False)


def override(config: str, word: str, *, sweep: bool) -> str:
    """One `key=value` for Hydra, its value quoted where need be. Raises UsageError for an unknown key or name."""
    found = OVERRIDE.fullmatch(word)
    if found is None:
        return word  # a deletion
    sign, key, package, value = found.groups()
    if key.split("/")[0].split(".")[0] == "hydra":
        return word
    if key in groups():
        check_choice(key, value)
    elif not sign and key not in known_keys(config):
        raise unknown("setting", key, _near(key, known_keys(config)))
    return f"{sign}{key}{package or ''}={literal(key, value, sweep=sweep)}"


def check_choice(group: str, value: str) -> None:
    """Raises UsageError for a name (or one of several, of a sweep) that the group has not."""
    if not NAMES.fullmatch(value):
        return
    known = choices(group)
    for each in value.split(","):
        if each not in known and each != "null":
            raise unknown(group, each, known)


def _near(key: str, known: frozenset[str]) -> set[str]:
    """The keys to compare a misspelt one with: its neighbours, or, where its parent is unknown too, all."""
    parent = key.rpartition(".")[0]
    neighbours = {each for each in known if each.rpartition(".")[0] == parent}
    return neighbours or set(known)


def literal(key: str, value: str, *, sweep: bool = False) -> str:
    """A value as Hydra reads it unchanged: a path, or what is no word of its grammar, in quotes."""
    if SAID.fullmatch(value) or (sweep and ("," in value or "(" in value)):
        return value
    path = key.rpartition(".")[2] in PATHS or key.startswith("models.")
    if path or re.search(r"[\s/\\{}\[\]=]", value):
        return quoted(value)
    return value


def quoted(text: str) -> str:
    """Between double quotes, escaped so that Hydra and OmegaConf read exactly `text`: `"` and `${` are text."""
    text = re.sub(r'(\\*)"', lambda found: found[1] * 2 + '\\"', text)
    text = re.sub(r"\\+$", lambda found: found[0] * 2, text)
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)
    return f'"{text}"'


def _placed(name: str, command: Command, plain: list[str], words: list[str]) -> list[str]:
    """The words without `=` as settings, in the order of the command's places."""
    given = {word.split("=")[0] for word in words}
    open_places = [place for place in command.places if place.key not in given]
    gathered = _gathered(open_places, plain)
    if len(gathered) > len(open_places):
        stray = gathered[len(open_places)][0]
        raise UsageError(f"{stray!r}: a word too many -> harmony {name} --help")
    missing = [place.name for place in open_places[len(gathered) :] if place.must]
    if missing and not given & set(HYDRA):
        raise UsageError(f"{' and '.join(missing)} must be said -> harmony {name} --help")
    out = []
    for place, words_there in zip(open_places, gathered, strict=False):
        word = words_there[0]
        if place.key in groups():
            check_choice(place.key, word)
            if not NAMES.fullmatch(word):
                raise unknown(place.key, word, choices(place.key))
            out.append(f"{place.key}={word}")
            continue
        if place.key != "output":
            for each in words_there:
                there(each)
        values = [quoted(each) for each in words_there]
        out.append(f"{place.key}={values[0] if len(values) == 1 else '[' + ','.join(values) + ']'}")
    return out


def _gathered(places: Sequence[Place], plain: Sequence[str]) -> list[list[str]]:
    """The words of each place: one, or where there may be several, all that the places behind it leave."""
    if not places or not places[0].many or len(plain) <= len(places):
        return [[word] for word in plain]
    behind = len(places) - 1
    return [list(plain[: len(plain) - behind]), *([word] for word in plain[len(plain) - behind :])]


def there(word: str) -> None:
    """Raises UsageError for a path that does not exist; names the one beside it that was probably meant."""
    path = Path(os.path.expanduser(word))  # `~nobody` stays a name: Path would raise
    if os.path.exists(path):  # not Path's: it raises where the name is too long
        return
    if os.path.islink(path):
        raise UsageError(f"{word}: a link to {os.readlink(path)}, which is not there")
    folder = path.parent
    while not os.path.isdir(folder):
        path, folder = folder, folder.parent
    beside = [each.name for each in folder.iterdir()]
    error = unknown("path", path.name, beside, shown=0)
    meant = str(error).partition("-> ")[2]
    raise UsageError(f"{word}: no such file or folder" + (f" -> {meant[:-1]} in {folder}?" if meant else ""))
