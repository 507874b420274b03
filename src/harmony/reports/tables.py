"""Result rows as a table of means with intervals."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import nan
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from harmony.core import REFERENCE, Row, by_subject
from harmony.core.margins import of_harm
from harmony.core.vocabulary import MEAN, describe
from harmony.metrics import Against, Interval, against, mean_interval, recovered

# What the printed table shows, in this order; results.csv holds everything.
SHOWN = (
    "psnr", "psnr_brain", "ssim", "bpd", "jitter", "dice", "hd95", "iou_wm", "age_error", "site_retrained",
    "lesion_contrast", "seconds",
)  # fmt: skip
WITHOUT_JUDGES = ("psnr_brain", "jitter", "seconds")  # they give their place to what the judges say
JUDGED = ("dice", "age_error", "site_retrained")
PUBLISHED = " (published)"  # behind a method's name: the row of a paper
BASELINE = "none"  # the method that the others are compared with

Key = tuple[str, str, str]  # domain, method, metric


@dataclass(frozen=True)
class ResultTable:
    """(domain, method, metric) -> subject -> value; with the means over subjects and their 95 % intervals.

    A subject's value is the mean over the subject's scans.
    """

    values: Mapping[Key, Mapping[str, float]]
    cells: Mapping[Key, Interval]

    def flat_means(self) -> dict[str, float]:
        return {f"{domain}/{method}/{metric}": cell.mean for (domain, method, metric), cell in self.cells.items()}

    def query_means(self) -> dict[str, float]:
        """`mean/<method>/<metric>`: the mean over the query domains, what runs are sorted by."""
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for (domain, method, metric), cell in self.cells.items():
            if domain != REFERENCE:
                found[method, metric].append(cell.mean)
        return {f"{MEAN}/{method}/{metric}": fmean(values) for (method, metric), values in found.items()}

    def means(self) -> dict[str, dict[str, dict[str, list[float | None]]]]:
        """domain -> method -> metric -> [mean, low, high], for summary.json; low and high null for too few subjects."""
        tree: dict[str, dict[str, dict[str, list[float | None]]]] = defaultdict(lambda: defaultdict(dict))
        for (domain, method, metric), cell in self.cells.items():
            tree[domain][method][metric] = cell.listed()
        return tree

    def beside(self, published: Mapping[str, Mapping[str, Mapping[str, float]]]) -> ResultTable:
        """With a paper's rows (domain -> method -> metric -> mean), each below ours of the same method.

        Methods and domains that only the paper has come last. A published mean has no interval and counts no subjects.
        Where the paper has a `mean` over the query domains, ours is added.
        """
        theirs = {
            (domain, method, metric): Interval(mean, nan, nan, 0)
            for domain, methods in published.items()
            for method, means in methods.items()
            for metric, mean in means.items()
        }
        ours = dict(self.cells)
        if MEAN in published:
            means = {tuple(key.split("/")): mean for key, mean in self.query_means().items()}
            ours |= {(domain, method, metric): Interval(mean, nan, nan, 0)
                     for (domain, method, metric), mean in means.items()}  # fmt: skip
        keys = [*ours, *theirs]
        cells: dict[Key, Interval] = {}
        for domain in dict.fromkeys(key[0] for key in keys):
            for method in dict.fromkeys(key[1] for key in keys if key[0] == domain):
                for source, name in ((ours, method), (theirs, method + PUBLISHED)):
                    found = [key for key in source if key[:2] == (domain, method)]
                    cells |= {(domain, name, key[2]): source[key] for key in found}
        return ResultTable(self.values, cells)

    def against_none(self) -> dict[str, dict[str, dict[str, Any]]]:
        """domain -> method -> metric -> paired difference to no harmonization, share of subjects harmed.

        And, under "recovered_dice", the share of the Dice lost by the shift that the method won back. For summary.json.
        """
        tree: dict[str, dict[str, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
        for domain, method, metric in self.values:
            found = self.against(domain, method, metric)
            if found is not None:
                tree[domain][method][metric] = {"difference": found.difference.listed(), "worse": found.worse}
            share = self.recovered(domain, method) if metric == "dice" else None
            if share is not None:
                tree[domain][method]["recovered_dice"] = share.listed()
        return tree

    def against(self, domain: str, method: str, metric: str) -> Against | None:
        """None for `none` itself, and where there is nothing to compare."""
        baseline = self.values.get((domain, BASELINE, metric))
        if method == BASELINE or baseline is None or (domain, method, metric) not in self.values:
            return None
        return against(metric, self.values[domain, method, metric], baseline)

    def recovered(self, domain: str, method: str) -> Interval | None:
        of = [self.values.get(key) for key in ((domain, method, "dice"), (domain, BASELINE, "dice"))]
        best = self.values.get((REFERENCE, BASELINE, "dice"))
        if method == BASELINE or domain == REFERENCE or best is None or of[0] is None or of[1] is None:
            return None
        return recovered(of[0], of[1], best)

    def has(self, metric: str) -> bool:
        return any(key[2] == metric for key in self.cells)

    @property
    def subjects(self) -> str:
        """`5`, or `5 to 12` where the domains differ."""
        counts = {domain: 0 for domain, _, _ in self.values}
        for (domain, _, _), found in self.values.items():
            counts[domain] = max(counts[domain], len(found))
        low, high = min(counts.values()), max(counts.values())
        return f"{low}" if low == high else f"{low} to {high}"


def result_table(rows: Iterable[Row]) -> ResultTable:
    values = {(domain, method, metric): found for (method, domain, metric), found in by_subject(rows).items()}
    cells = {
        key: mean_interval(list(found.values()), cross_validated=describe(key[2]).cross_validated)
        for key, found in values.items()
    }
    return ResultTable(values, cells)


def print_table(table: ResultTable, *, title: str, caption: str | None = None) -> None:
    """Domain by domain, a method a line, means; without judges, whose columns take the place, the PSNR's 95 % interval.

    The last column is the share of subjects that the method harmed, in Dice where a judge gave it, or else in PSNR
    (`core.margins`).
    """
    judged = any(map(table.has, JUDGED))
    left_out = [*WITHOUT_JUDGES] if judged else []
    published = {metric for _, method, metric in table.cells if method.endswith(PUBLISHED)}
    if "iou_wm" not in published:
        left_out.append("iou_wm")
    shown = {metric: describe(metric).label for metric in SHOWN if table.has(metric) and metric not in left_out}
    harm = next((metric for metric in ("dice", "psnr") if table.has(metric)), None)
    worse = ["worse"] if harm else []
    grid = Table(title=f"{title} (n={table.subjects})", title_justify="left")
    for label in ("query", "method", *shown.values(), *worse):
        name = label in ("query", "method")
        grid.add_column(label, justify="left" if name else "right", no_wrap=name)
    former = None
    for domain, method in dict.fromkeys(key[:2] for key in table.cells):
        if former not in (None, domain):
            grid.add_section()
        wide = None if judged or published else "psnr"
        cells = [_cell(table.cells.get((domain, method, m)), m, interval=m == wide) for m in shown]
        if harm:
            harmed = table.against(domain, method, harm)
            cells.append("-" if harmed is None else f"{harmed.worse:.0%}")
        grid.add_row("" if domain == former else domain, method, *cells)
        former = domain
    notes = [f"worse: subjects with {of_harm(harm)}"] if harm else []
    if table.has("site_retrained"):
        notes.append("site: balanced accuracy of the retrained probe, 0.5 cannot tell")
    grid.caption, grid.caption_justify = "\n".join(filter(None, [caption, "; ".join(notes)])), "left"
    Console(width=None if sys.stdout.isatty() else 120).print(grid)


def _cell(cell: Interval | None, metric: str, *, interval: bool) -> str:
    if cell is None:
        return "-"
    digits = describe(metric).digits
    spread = f"[{cell.span(digits)}]" if cell.known else "(too few)"
    return f"{cell.mean:.{digits}f}" + (f" {spread}" if interval and cell.subjects else "")
