"""The door: find the command, hand it its words, and let no mistake of a user end in a traceback."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Sequence

from harmony import __version__
from harmony.cli.commands import COMMANDS
from harmony.cli.mistakes import UsageError, unknown
from harmony.cli.pages import overview, page
from harmony.cli.words import translate

HELP = {"-h", "--help", "help"}


def main() -> None:
    """`harmony COMMAND ...`. Exit code 2 for every mistake of the user, 128 + n after a signal."""
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))  # until the entry point watches it itself
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # `harmony ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def run(words: Sequence[str]) -> int:
    """The exit code of a command. Raises UsageError; an entry point leaves with SystemExit."""
    if not words or words[0] in HELP - {"help"} or list(words) == ["help"]:
        print(overview())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"harmony {__version__}")
        return 0
    name, *rest = [*words[1:], "--help"] if words[0] == "help" else words
    if name not in COMMANDS:
        raise unknown("option" if name.startswith("-") else "command", name, [*COMMANDS, "--help", "--version"])
    if name in OWN:
        return OWN[name](rest)
    command = COMMANDS[name]
    if command.config is None:
        return start(name, rest)
    if HELP & set(rest):
        print(page(name, command))
        return 0
    return start(name, translate(name, command, rest))


def start(name: str, words: list[str]) -> int:
    """The entry point harmony.NAME, as `python -m harmony.NAME WORDS` would run it."""
    module = f"harmony.{name}"
    sys.argv = [f"harmony {name}", *words]
    # Processes of a group (DDP) are started by Lightning as `python -m` of this: without it, as `harmony WORDS`.
    sys.modules["__main__"].__spec__ = importlib.util.find_spec(module)
    importlib.import_module(module).main()
    return 0


def _doctor(words: list[str]) -> int:
    from harmony.cli.doctor import doctor

    return doctor(words)


def _models(words: list[str]) -> int:
    from harmony.cli.models import models

    return models(words)


def _bids(words: list[str]) -> int:
    from harmony.cli.bids import bids_words

    return start("harmonize", bids_words(words))


def _completion(words: list[str]) -> int:
    from harmony.cli.completion import completion

    return completion(words)


OWN: dict[str, Callable[[list[str]], int]] = {
    "doctor": _doctor,
    "models": _models,
    "bids": _bids,
    "completion": _completion,
}
