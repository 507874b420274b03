"""Result rows as a table of means with intervals."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import nan
from statistics import fmean

from rich.console import Console
from rich.table import Table

from harmony.core import REFERENCE, Row
from harmony.core.vocabulary import MEAN
from harmony.metrics import Interval, bootstrap_mean

# What the printed table shows, in this order; results.csv holds everything.
SHOWN = {
    "psnr": "PSNR dB",
    "psnr_brain": "PSNR brain",
    "ssim": "SSIM",
    "bpd": "bpd",
    "jitter": "jitter",
    "seconds": "s/volume",
}
DIGITS = {"psnr": 1, "psnr_brain": 1, "ssim": 3, "bpd": 2, "jitter": 2, "seconds": 1}


@dataclass(frozen=True)
class ResultTable:
    """(domain, method, metric) -> mean over subjects with its 95 % bootstrap interval."""

    cells: dict[tuple[str, str, str], Interval]

    def flat_means(self) -> dict[str, float]:
        return {f"{domain}/{method}/{metric}": cell.mean for (domain, method, metric), cell in self.cells.items()}

    def query_means(self) -> dict[str, float]:
        """`mean/<method>/<metric>`: the mean over the query domains, what runs are sorted by."""
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for (domain, method, metric), cell in self.cells.items():
            if domain != REFERENCE:
                found[method, metric].append(cell.mean)
        return {f"{MEAN}/{method}/{metric}": fmean(values) for (method, metric), values in found.items()}

    def means(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        """domain -> method -> metric -> [mean, low, high], for summary.json."""
        tree: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(dict))
        for (domain, method, metric), cell in self.cells.items():
            tree[domain][method][metric] = [cell.mean, cell.low, cell.high]
        return tree

    def beside(self, published: Mapping[str, Mapping[str, Mapping[str, float]]]) -> ResultTable:
        """With a paper's rows (domain -> method -> metric -> mean), each below ours of the same method.

        Methods and domains that only the paper has come last. A published mean has no interval and counts no subjects.
        """
        theirs = {
            (domain, method, metric): Interval(mean, nan, nan, 0)
            for domain, methods in published.items()
            for method, means in methods.items()
            for metric, mean in means.items()
        }
        keys = [*self.cells, *theirs]
        cells: dict[tuple[str, str, str], Interval] = {}
        for domain in dict.fromkeys(key[0] for key in keys):
            for method in dict.fromkeys(key[1] for key in keys if key[0] == domain):
                for source, name in ((self.cells, method), (theirs, f"{method} (published)")):
                    found = [key for key in source if key[:2] == (domain, method)]
                    cells |= {(domain, name, key[2]): source[key] for key in found}
        return ResultTable(cells)

    @property
    def subjects(self) -> int:
        return max(cell.subjects for cell in self.cells.values())


def result_table(rows: Iterable[Row]) -> ResultTable:
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        values[row.domain, row.method, row.metric].append(row.value)
    return ResultTable({key: bootstrap_mean(found) for key, found in values.items()})


def print_table(table: ResultTable, *, title: str, caption: str | None = None) -> None:
    """Domain by domain, a method a line; mean and 95 % interval of the PSNR, means of the rest."""
    shown = {metric: label for metric, label in SHOWN.items() if any(key[2] == metric for key in table.cells)}
    grid = Table(title=f"{title} (n={table.subjects})", title_justify="left", caption=caption, caption_justify="left")
    for label in ("query", "method", *shown.values()):
        grid.add_column(label, justify="left" if label in ("query", "method") else "right")
    former = None
    for domain, method in dict.fromkeys(key[:2] for key in table.cells):
        if former not in (None, domain):
            grid.add_section()
        cells = [_cell(table.cells.get((domain, method, metric)), metric) for metric in shown]
        grid.add_row("" if domain == former else domain, method, *cells)
        former = domain
    Console(width=None if sys.stdout.isatty() else 120).print(grid)


def _cell(interval: Interval | None, metric: str) -> str:
    if interval is None:
        return "-"
    digits = DIGITS[metric]
    spread = (
        f" [{interval.low:.{digits}f}, {interval.high:.{digits}f}]" if metric == "psnr" and interval.subjects else ""
    )
    return f"{interval.mean:.{digits}f}{spread}"
