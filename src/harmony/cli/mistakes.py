"""What a user got wrong, in one line, with what was probably meant."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import NoReturn

ALIKE = 0.6  # of difflib's ratio, its own default: `metod` finds `method`, `xyz` nothing


class UsageError(Exception):
    """A command that cannot be understood. Printed as one line, exit code 2."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name most like `word`; None where none is."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=ALIKE)
    return found[0] if found else None


def unknown(what: str, word: str, known: Iterable[str], *, shown: int = 30) -> UsageError:
    """`what` there is none of that name: the nearest name, or all of them where there are few."""
    names = sorted(known)
    near = nearest(word, names)
    if near is not None:
        return UsageError(f"{what} {word!r}: unknown -> did you mean {near}?")
    listed = f"; there are {', '.join(names)}" if 0 < len(names) <= shown else ""
    return UsageError(f"{what} {word!r}: unknown{listed}")


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are UsageErrors that know what was meant."""

    def __init__(self, prog: str, text: str) -> None:
        super().__init__(prog, description=text, allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter)

    def error(self, message: str) -> NoReturn:
        stray = re.match(r"unrecognized arguments: (--?[\w-]+)", message)
        if stray:
            raise unknown("option", stray[1], self._option_string_actions)
        wrong = re.match(r"argument (\S+): invalid choice: '(.*)' \(choose from (.*)\)", message)
        if wrong:
            raise unknown(wrong[1], wrong[2], re.findall(r"[\w-]+", wrong[3]))
        raise UsageError(f"{message} -> {self.prog} --help")
