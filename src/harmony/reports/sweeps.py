"""The jobs of a sweep as one table: mean and spread over the seeds, and which is best."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from harmony.core.vocabulary import describe, direction
from harmony.reports.tables import JUDGED, SHOWN, WITHOUT_JUDGES, ResultTable


@dataclass(frozen=True)
class SweepJob:
    """overrides: key -> value, of one finished job. scores: trained stage -> validation score."""

    overrides: dict[str, str]
    scores: dict[str, float]
    results: ResultTable | None


class Spread(NamedTuple):
    """Mean over `seeds` seeds, and their sample standard deviation (nan for one)."""

    mean: float
    deviation: float
    seeds: int

    def text(self, digits: int) -> str:
        return f"{self.mean:.{digits}f}" + (f" ±{self.deviation:.{digits}f}" if self.seeds > 1 else "")


REFERENCE_SITE = "reference"  # what `data.sites` is: jobs of other reference sites were scored on other truths
WORDS = {"data.sites": REFERENCE_SITE}

Cell = tuple[str, str, str, str]  # domain, settings, method, metric


def settings(jobs: Sequence[SweepJob]) -> list[str]:
    """What a job has that another has not, the seed aside: jobs with the same text differ by the seed alone."""
    keys = [key for job in jobs for key in job.overrides if key != "seed"]
    varied = [key for key in dict.fromkeys(keys) if len({job.overrides.get(key) for job in jobs}) > 1]
    said = {key: WORDS.get(key, key) for key in varied}
    return [
        " ".join(f"{word}={job.overrides[key]}" for key, word in said.items() if key in job.overrides) for job in jobs
    ]


def over_seeds(jobs: Sequence[SweepJob]) -> dict[Cell, Spread]:
    """(domain, settings, method, metric) -> mean and spread, over seeds, of the means over subjects."""
    found: dict[Cell, list[float]] = defaultdict(list)
    for job, text in zip(jobs, settings(jobs), strict=True):
        for (domain, method, metric), cell in job.results.cells.items() if job.results else ():
            found[domain, text, method, metric].append(cell.mean)
    return {key: _spread(values) for key, values in found.items()}


def best(cells: dict[Cell, Spread]) -> set[Cell]:
    """Per reference site, domain and metric, where a direction is better: the cells with the best mean."""
    winners: dict[tuple[str, str, str], Cell] = {}
    for key, spread in cells.items():
        domain, text, _, metric = key
        site = next((word for word in text.split() if word.startswith(f"{REFERENCE_SITE}=")), "")
        former, sign = winners.get((site, domain, metric)), direction(metric)
        if sign and (former is None or sign * spread.mean > sign * cells[former].mean):
            winners[site, domain, metric] = key
    return set(winners.values())


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
    winners, former = best(cells), None
    domains = list(dict.fromkeys(key[0] for key in cells))
    for domain, text, method in sorted(dict.fromkeys(key[:3] for key in cells), key=lambda key: domains.index(key[0])):
        if former not in (None, domain):
            grid.add_section()
        row = [key for metric in shown if (key := (domain, text, method, metric)) in cells]
        texts = {key[3]: cells[key].text(describe(key[3]).digits) + ("*" if key in winners else "") for key in row}
        runs = max(cells[key].seeds for key in row)
        named = ["" if domain == former else domain, *([text] if varied else []), method]
        grid.add_row(*named, *(texts.get(m, "-") for m in shown), str(runs))
        former = domain
    console.print(grid)


def _print_scores(console: Console, jobs: Sequence[SweepJob], title: str) -> None:
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for job, text in zip(jobs, settings(jobs), strict=True):
        for stage, score in job.scores.items():
            scores[text, stage].append(score)
    grid = _grid(f"{title}: validation score", ["settings", "trained"], ["score", "runs"])
    for (text, stage), values in scores.items():
        grid.add_row(text, stage, _spread(values).text(3), str(len(values)))
    if scores:
        console.print(grid)


def _grid(title: str, left: list[str], right: list[str]) -> Table:
    grid = Table(title=title, title_justify="left")
    for label in left:
        grid.add_column(label, overflow="fold")
    for label in right:
        grid.add_column(label, justify="right")
    return grid


def _spread(values: Sequence[float]) -> Spread:
    return Spread(fmean(values), stdev(values) if len(values) > 1 else float("nan"), len(values))
