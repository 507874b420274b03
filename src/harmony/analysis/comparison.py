"""Runs side by side: seeds of one configuration pooled, every method against doing nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from statistics import fmean
from typing import NamedTuple

from harmony.analysis.identity import decides_data, differing, labels, settings_of
from harmony.analysis.paired import Against, holm
from harmony.analysis.runs import EvaluatedRun
from harmony.analysis.table import BASELINE, Cell, ResultTable, best, result_table
from harmony.core import REFERENCE, ConfigError
from harmony.core.vocabulary import RESULTS


@dataclass(frozen=True)
class Group:
    """The seeds of one configuration. label: what sets it apart from the other groups; empty for a single one."""

    label: str
    runs: list[EvaluatedRun]

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]

    @cached_property
    def table(self) -> ResultTable:
        return result_table(*(run.rows for run in self.runs))


class Entry(NamedTuple):
    """A column of the comparison: a method of a group."""

    method: str
    group: int


class Test(NamedTuple):
    """An entry against `none` of its group. adjusted: Holm's p over the tests of the metric on query scanners.

    None on the untouched reference: there the question is what harm was done, and no gain is looked for.
    """

    against: Against
    adjusted: float | None


@dataclass(frozen=True)
class Comparison:
    """Groups of runs on the same data. Every value is the mean over a group's seeds, one per subject."""

    groups: list[Group]

    @cached_property
    def entries(self) -> list[Entry]:
        return [
            Entry(method, k)
            for k, group in enumerate(self.groups)
            for method in dict.fromkeys(key[1] for key in group.table.samples)
        ]

    @cached_property
    def domains(self) -> list[str]:
        """The untouched reference last: it asks another question."""
        names = list(dict.fromkeys(key[0] for group in self.groups for key in group.table.samples))
        return sorted(names, key=lambda name: name == REFERENCE)

    @cached_property
    def metrics(self) -> list[str]:
        """Known ones in the vocabulary's order, then the others."""
        found = list(dict.fromkeys(key[2] for group in self.groups for key in group.table.samples))
        return [name for name in RESULTS if name in found] + [name for name in found if name not in RESULTS]

    @property
    def runs(self) -> list[EvaluatedRun]:
        return [run for group in self.groups for run in group.runs]

    @cached_property
    def subjects(self) -> list[str]:
        return sorted({row.subject for run in self.runs for row in run.rows})

    def values(self, entry: Entry, domain: str, metric: str) -> dict[str, float]:
        """Subject -> mean over the seeds; a subject without a finite value in every seed is left out."""
        return dict(self.groups[entry.group].table.values.get((domain, entry.method, metric), {}))

    @cached_property
    def cells(self) -> dict[tuple[Entry, str, str], Cell]:
        return {
            (Entry(method, k), domain, metric): cell
            for k, group in enumerate(self.groups)
            for domain, method, metric in group.table.samples
            if (cell := group.table.cell((domain, method, metric))) is not None
        }

    def best(self, domain: str, metric: str) -> list[Entry]:
        """Which entries have the best mean; none where no way is better, or all are alike."""
        keys = {entry: (entry, domain, metric) for entry in self.entries}
        return best({e: self.cells[key].interval.mean for e, key in keys.items() if key in self.cells}, metric)

    @cached_property
    def tests(self) -> dict[tuple[Entry, str, str], Test]:
        """Every entry against `none`, of metrics that score an image and have a better way."""
        return dict(pair for metric in self.metrics for pair in self._tests(metric))

    def _tests(self, metric: str) -> Iterator[tuple[tuple[Entry, str, str], Test]]:
        found: dict[tuple[Entry, str, str], Against] = {}
        for entry in self.entries:
            for domain in self.domains:
                test = self.groups[entry.group].table.against(domain, entry.method, metric)
                if test is not None:
                    found[entry, domain, metric] = test
        family = [key for key in found if key[1] != REFERENCE]
        adjusted = dict(zip(family, holm([found[key].p for key in family]), strict=True))
        for key, test in found.items():
            yield key, Test(test, adjusted.get(key))

    def family(self, metric: str) -> list[Test]:
        """The tests that are corrected together."""
        return [test for key, test in self.tests.items() if key[2] == metric and test.adjusted is not None]

    def of_scan(self, entry: Entry, domain: str, metric: str, scan: str) -> float | None:
        """Mean over the seeds; None where a seed has no finite value."""
        runs = self.groups[entry.group].runs
        key = (entry.method, domain, metric, scan)
        rows = [row for run in runs for row in run.rows]
        found = [row.value for row in rows if (row.method, row.domain, row.metric, row.scan) == key]
        return fmean(found) if len(found) == len(runs) and all(map(isfinite, found)) else None

    def smallest_p(self, metric: str) -> float:
        """What Holm's procedure leaves of the smallest p, 2 / 2^n, that the signed-rank test can give."""
        n = [test.against.difference.subjects for test in self.family(metric)]
        return min(1.0, len(n) * 2 / 2 ** max(n)) if n else 1.0

    def change(self, entry: Entry, domain: str, metric: str) -> dict[str, tuple[float, float]]:
        """Subject -> value (without, with) the method; empty for `none`."""
        base = self.values(Entry(BASELINE, entry.group), domain, metric)
        values = self.values(entry, domain, metric) if entry.method != BASELINE else {}
        return {name: (base[name], value) for name, value in values.items() if name in base}

    def missing(self) -> list[str]:
        """Subjects without a finite value that others of the same domain and metric have, in words."""
        lines = []
        for group in self.groups:
            for (domain, method, metric), found in group.table.samples.items():
                lost = sorted(found.keys() - group.table.values[domain, method, metric].keys())
                if lost:
                    lines.append(f"{method} on {domain}, {metric}: no value in every seed for {', '.join(lost)}")
        return lines + [line for domain in self.domains for line in self._not_scored(domain)]

    def _not_scored(self, domain: str) -> Iterator[str]:
        have: dict[Entry, set[str]] = {entry: set() for entry in self.entries}
        for entry, names in have.items():
            samples = self.groups[entry.group].table.samples
            names.update(*(found for key, found in samples.items() if key[:2] == (domain, entry.method)))
        everyone = set().union(*have.values())
        for entry, names in have.items():
            if names and everyone - names:
                yield f"{entry.method} on {domain}: not scored for {', '.join(sorted(everyone - names))}"


def compare(runs: Sequence[EvaluatedRun]) -> Comparison:
    """Seeds of one configuration pooled; configurations side by side. Raises ConfigError for runs on different data."""
    grouped: dict[str, list[EvaluatedRun]] = {}
    for run in runs:
        grouped.setdefault(json.dumps(settings_of(run.config), sort_keys=True, default=str), []).append(run)
    for same in grouped.values():
        twice = [run for run in same if [other.seed for other in same].count(run.seed) > 1]
        if twice:
            raise ConfigError(f"{twice[0].path} and {twice[1].path}: the same seed twice -> give one of them")
    members = [sorted(same, key=lambda run: run.seed) for same in grouped.values()]
    _refuse_other_data(members)
    said = labels([settings_of(same[0].config) for same in members])
    if len(set(said)) < len(said):
        said = [f"{label}, {same[0].path.name}" for label, same in zip(said, members, strict=True)]
    return Comparison([Group(label, same) for label, same in zip(said, members, strict=True)])


def _refuse_other_data(members: Sequence[Sequence[EvaluatedRun]]) -> None:
    settings = [settings_of(same[0].config) for same in members]
    data = [key for key in differing(settings) if decides_data(key)]
    if data:
        values = [str(each.get(data[0])) for each in settings]
        other = next(k for k, value in enumerate(values) if value != values[0])
        raise ConfigError(
            f"{members[0][0].path} and {members[other][0].path}: scored on different data ({data[0]}: {values[0]} and "
            f"{values[other]}), which cannot be compared -> make a page of each"
        )
