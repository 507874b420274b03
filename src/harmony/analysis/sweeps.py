"""The jobs of a sweep, by what sets them apart but for the seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmony.analysis.identity import job_settings, reference_of
from harmony.analysis.intervals import Interval
from harmony.analysis.table import Cell, ResultTable, best, pooled

Place = tuple[str, str, str, str]  # domain, settings, method, metric


@dataclass(frozen=True)
class SweepJob:
    """overrides: key -> value, of one finished job. scores: trained stage -> validation score."""

    overrides: dict[str, str]
    scores: dict[str, float]
    results: ResultTable | None


def settings(jobs: Sequence[SweepJob]) -> list[str]:
    """What a job has that another has not, the seed aside: jobs with the same text differ by the seed alone."""
    return job_settings([job.overrides for job in jobs])


def over_seeds(jobs: Sequence[SweepJob]) -> dict[Place, Cell]:
    """(domain, settings, method, metric) -> mean over subjects, and the mean of each seed."""
    alike: dict[str, list[ResultTable]] = defaultdict(list)
    for job, text in zip(jobs, settings(jobs), strict=True):
        if job.results is not None:
            alike[text].append(job.results)
    tables = {text: pooled(found) for text, found in alike.items()}
    return {
        (domain, text, method, metric): cell
        for text, table in tables.items()
        for domain, method, metric in table.samples
        if (cell := table.cell((domain, method, metric))) is not None
    }


def scores_over_seeds(jobs: Sequence[SweepJob]) -> dict[tuple[str, str], Cell]:
    """(settings, stage) -> validation score: its mean, and that of each seed."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for job, text in zip(jobs, settings(jobs), strict=True):
        for stage, score in job.scores.items():
            found[text, stage].append(score)
    return {
        key: Cell(Interval(sum(values) / len(values), min(values), max(values), 0), values)
        for key, values in found.items()
    }


def winners(cells: Mapping[Place, Cell]) -> set[Place]:
    """Per reference site, domain and metric: the places with the best mean."""
    rivals: dict[tuple[str, str, str], dict[Place, float]] = defaultdict(dict)
    for key, cell in cells.items():
        domain, text, _, metric = key
        rivals[reference_of(text), domain, metric][key] = cell.interval.mean
    return {key for (_, _, metric), means in rivals.items() for key in best(means, metric)}
