"""Result rows as a table: one value per subject, a mean with its interval, what was won against doing nothing.

The only place where rows are grouped. Everything that is shown of them, on the screen, on the page, in a sweep's
table or in a record's README, comes from here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import numpy as np

from harmony.analysis.intervals import Interval, mean_interval
from harmony.analysis.paired import Against, against, recovered
from harmony.core import REFERENCE, Row, by_subject
from harmony.core.vocabulary import MEAN, MIDDLE, describe, direction

PUBLISHED = " (published)"  # behind a method's name: the row of a paper
BASELINE = "none"  # the method that the others are compared with

Key = tuple[str, str, str]  # domain, method, metric
Named = TypeVar("Named", bound=Hashable)


class Cell(NamedTuple):
    """A score. interval: over subjects, each with its mean over the seeds. by_seed: the mean of each seed."""

    interval: Interval
    by_seed: list[float]

    @property
    def spread(self) -> float | None:
        """Standard deviation of the seeds' means (n - 1); None for one seed."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None

    def text(self, digits: int) -> str:
        spread = self.spread
        return f"{self.interval.mean:.{digits}f}" + ("" if spread is None else f" ±{spread:.{digits}f}")


@dataclass(frozen=True)
class ResultTable:
    """(domain, method, metric) -> subject -> value, of the seeds of one configuration.

    samples: one value per seed. values: their mean, of the subjects that have a finite value in every seed. cells: the
    means over those subjects with their 95 % intervals.
    """

    samples: Mapping[Key, Mapping[str, list[float]]]
    values: Mapping[Key, Mapping[str, float]]
    cells: Mapping[Key, Interval]

    def cell(self, key: Key) -> Cell | None:
        """None where no subject has a value in every seed."""
        if not self.values.get(key):
            return None
        per_seed = [self.samples[key][subject] for subject in self.values[key]]
        return Cell(self.cells[key], np.mean(per_seed, axis=0).tolist())

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
        Where the paper has a `mean` over the query domains, ours is added. A paper's metric stands beside ours of the
        middle slices where we have that; in results from before all slices were scored, beside the metric itself.
        """
        theirs = {
            (domain, method, self.as_published(metric)): Interval(mean, nan, nan, 0)
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
        return ResultTable(self.samples, self.values, cells)

    def as_published(self, metric: str) -> str:
        """Our metric that a paper's is compared with: of the middle slices, if there are such results."""
        return metric + MIDDLE if self.has(metric + MIDDLE) else metric

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
        """The share of the lost Dice that came back; None where nothing was lost, or there is no Dice."""
        of = [self.values.get(key) for key in ((domain, method, "dice"), (domain, BASELINE, "dice"))]
        best = self.values.get((REFERENCE, BASELINE, "dice"))
        if method == BASELINE or domain == REFERENCE or best is None or of[0] is None or of[1] is None:
            return None
        return recovered(of[0], of[1], best)

    def off(self, domain: str, method: str, metric: str) -> float | None:
        """Mean |difference| to what the same subjects have on the untouched reference scanner."""
        values = self.values.get((domain, method, metric))
        true = self.values.get((REFERENCE, BASELINE, metric))
        return fmean(abs(value - true[name]) for name, value in values.items()) if values and true else None

    def has(self, metric: str) -> bool:
        return any(key[2] == metric for key in self.cells)

    @property
    def subjects(self) -> str:
        """`5`, or `5 to 12` where the domains differ."""
        counts = {domain: 0 for domain, _, _ in self.samples}
        for (domain, _, _), found in self.samples.items():
            counts[domain] = max(counts[domain], len(found))
        low, high = min(counts.values()), max(counts.values())
        return f"{low}" if low == high else f"{low} to {high}"


def result_table(*seeds: Iterable[Row]) -> ResultTable:
    """The table of one run's rows, or of the rows of one run for each seed."""
    samples: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for rows in seeds:
        for (method, domain, metric), found in by_subject(rows).items():
            for subject, value in found.items():
                samples[domain, method, metric][subject].append(value)
    return _table(samples, len(seeds))


def pooled(tables: Sequence[ResultTable]) -> ResultTable:
    """One table of the tables of several seeds."""
    samples: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for table in tables:
        for key, found in table.samples.items():
            for subject, values in found.items():
                samples[key][subject] += values
    return _table(samples, len(tables))


def _table(samples: Mapping[Key, Mapping[str, list[float]]], seeds: int) -> ResultTable:
    values = {
        key: {
            subject: fmean(each) for subject, each in found.items() if len(each) == seeds and all(map(isfinite, each))
        }
        for key, found in samples.items()
    }
    cells = {
        key: mean_interval(list(found.values()), cross_validated=describe(key[2]).cross_validated)
        for key, found in values.items()
    }
    return ResultTable(samples, values, cells)


def best(means: Mapping[Named, float], metric: str) -> list[Named]:
    """Whose mean is the best; none where neither way is better, or all are alike."""
    sign = direction(metric)
    if sign == 0 or not means:
        return []
    top = max(sign * mean for mean in means.values())
    found = [name for name, mean in means.items() if sign * mean == top]
    return found if len(found) < len(means) else []
