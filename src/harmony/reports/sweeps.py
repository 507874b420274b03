"""The jobs of a sweep as one table: mean and spread over the seeds, and which is best."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from harmony.analysis import SweepJob
from harmony.analysis.sweeps import over_seeds, scores_over_seeds, winners
from harmony.core.vocabulary import describe, direction
from harmony.reports.tables import JUDGED, SHOWN, WITHOUT_JUDGES


def print_sweep(jobs: Sequence[SweepJob], *, title: str) -> None:
    """The validation scores, then the results, domain by domain; `*` marks the best."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    _print_scores(console, jobs, title)
    cells = over_seeds(jobs)
    if not cells:
        return
    found = {key[3] for key in cells}
    left_out = {"iou_wm", *(WITHOUT_JUDGES if found & {*JUDGED} else ())}
    shown = {m: describe(m).label for m in SHOWN if m in found - left_out and direction(m)}
    varied = any(key[1] for key in cells)
    names = ["query", *(["settings"] if varied else []), "method"]
    grid = _grid(f"{title}: mean ± deviation over seeds", names, [*shown.values(), "runs"])
    starred, former = winners(cells), None
    domains = list(dict.fromkeys(key[0] for key in cells))
    for domain, text, method in sorted(dict.fromkeys(key[:3] for key in cells), key=lambda key: domains.index(key[0])):
        if former not in (None, domain):
            grid.add_section()
        row = [key for metric in shown if (key := (domain, text, method, metric)) in cells]
        texts = {key[3]: cells[key].text(describe(key[3]).digits) + ("*" if key in starred else "") for key in row}
        runs = max((len(cells[key].by_seed) for key in row), default=0)
        named = ["" if domain == former else domain, *([text] if varied else []), method]
        grid.add_row(*named, *(texts.get(m, "-") for m in shown), str(runs))
        former = domain
    console.print(grid)


def _print_scores(console: Console, jobs: Sequence[SweepJob], title: str) -> None:
    scores = scores_over_seeds(jobs)
    grid = _grid(f"{title}: validation score", ["settings", "trained"], ["score", "runs"])
    for (text, stage), cell in scores.items():
        grid.add_row(text, stage, cell.text(3), str(len(cell.by_seed)))
    if scores:
        console.print(grid)


def _grid(title: str, left: list[str], right: list[str]) -> Table:
    grid = Table(title=title, title_justify="left")
    for label in left:
        grid.add_column(label, overflow="fold")
    for label in right:
        grid.add_column(label, justify="right")
    return grid
