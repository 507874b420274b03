"""What is in a data set, and all that is wrong with it: python -m harmony.check data=bids data.root=FOLDER [--json]"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harmony import app
from harmony.data.inspection import Inspection, Problem, as_json, inspect, summary

FLAG = "--json"
SHOWN = 6  # values of a kind, and files with one and the same problem, before "more"; --json has them all


def check(cfg: DictConfig, *, machine: bool = False) -> int:
    """Inspect the data of `cfg` and print what was found. Returns the exit code: 1 where there are errors, else 0."""
    found = inspect(app.build_data(cfg))
    if machine:
        print(json.dumps(as_json(found), indent=2, allow_nan=False))
    else:
        show(found)
    return 1 if found.errors else 0


def show(found: Inspection) -> None:
    """The table, then the problems on plain lines that can be searched and copied, then the verdict."""
    if found.scans:
        grid = Table(title="data", title_justify="left", show_header=False)
        for name, value in summary(found).items():
            grid.add_row(name, Text(cell(value)))
        Console(width=None if sys.stdout.isatty() else 120).print(grid)
    for word, problems in (("error", found.errors), ("warning", found.warnings)):
        for line in lines(problems):
            print(f"{word}: {line}")
    verdict = f"{len(found.errors)} errors, {len(found.warnings)} warnings in {len(found.scans)} scans"
    print(verdict + ("" if found.errors else ": ready"))


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
    """The flag is ours: Hydra would refuse it. Exit code 2 for a user's mistake, whoever notices it."""
    machine = FLAG in sys.argv[1:]
    sys.argv = [sys.argv[0], *(word for word in sys.argv[1:] if word != FLAG)]
    codes: list[int] = []
    app.entry_point(lambda cfg: codes.append(check(cfg, machine=machine)))()
    sys.exit(max(codes, default=0))


if __name__ == "__main__":
    main()
