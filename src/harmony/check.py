"""What is in a data set, and all that is wrong with it for what is intended:

python -m harmony.check data=bids data.root=FOLDER [--for harmonize|train|study] [--json]
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import Any, cast, get_args

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harmony import app
from harmony.data.inspection import Inspection, Intent, Problem, as_json, inspect, summary

FLAG, FOR = "--json", "--for"
SHOWN = 6  # values of a kind, and files with one and the same problem, before "more"; --json has them all


def check(cfg: DictConfig, *, intent: Intent | None = None, machine: bool = False) -> int:
    """Inspect the data of `cfg` and print what was found. Returns the exit code: 1 where there are errors, else 0."""
    found = inspect(app.build_data(cfg), intent)
    if machine:
        print(json.dumps(as_json(found), indent=2, allow_nan=False))
    else:
        show(found, intent)
    return 1 if found.errors else 0


def show(found: Inspection, intent: Intent | None) -> None:
    """The table, then the problems on plain lines that can be searched and copied, then the verdict."""
    if found.scans:
        grid = Table(title="data", title_justify="left", show_header=False)
        for name, value in summary(found).items():
            grid.add_row(name, Text(cell(value)))
        Console(width=None if sys.stdout.isatty() else 120).print(grid)
    for word, problems in (("error", found.errors), ("warning", found.warnings)):
        for line in lines(problems):
            print(f"{word}: {line}")
    for problem in found.left_out:  # every one: nobody else names it
        print(f"left out: {problem}")
    verdict = f"{len(found.errors)} errors, {len(found.warnings)} warnings in {len(found.scans)} scans"
    verdict += "" if found.errors else f": ready to {intent}" if intent else ": ready"
    print(verdict + (f"; {len(found.left_out)} images, subjects or rows left out" if found.left_out else ""))


def lines(problems: list[Problem]) -> list[str]:
    """A line a problem; where many scans have one and the same, the first few and how many more."""
    alike: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        alike[problem.problem, problem.cure].append(problem)
    out: list[str] = []
    for (text, _), group in alike.items():
        out += [str(problem) for problem in group[:SHOWN]]
        if len(group) > SHOWN:
            out.append(f"... and {len(group) - SHOWN} more scans: {text}")
    return out


def cell(value: Any) -> str:
    """One value of the summary as text."""
    if value is None:
        return "-"
    if not isinstance(value, dict):
        return str(value)
    if set(value) == {"low", "high"}:
        return f"{value['low']:.4g} to {value['high']:.4g}"
    parts = [
        f"{name}: {item['subjects']} subjects, {item['scans']} scans" if isinstance(item, dict) else f"{name} ({item})"
        for name, item in value.items()
    ]
    more = f"{len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return "; ".join([*parts[:SHOWN], *([more] if more else [])]) or "-"


def main() -> None:
    """The flags are ours: Hydra would refuse them. Exit code 2 for a user's mistake, whoever notices it."""
    intent, rest = intended(sys.argv[1:])
    sys.argv = [sys.argv[0], *(word for word in rest if word != FLAG)]
    codes: list[int] = []
    app.entry_point(lambda cfg: codes.append(check(cfg, intent=intent, machine=FLAG in rest)))()
    sys.exit(max(codes, default=0))


def intended(words: list[str]) -> tuple[Intent | None, list[str]]:
    """What the data are for (`--for WORD`, `--for=WORD`; None where nobody says), and the other words.

    Exits with code 2 for another word.
    """
    intent, rest = None, []
    for word in (left := iter(words)):
        if word.split("=")[0] == FOR:
            intent = word.partition("=")[2] or next(left, "")
        else:
            rest.append(word)
    if intent not in (None, *get_args(Intent)):
        print(f"error: {FOR} {intent}: one of {', '.join(get_args(Intent))}", file=sys.stderr)
        sys.exit(2)
    return cast("Intent | None", intent), rest


if __name__ == "__main__":
    main()
