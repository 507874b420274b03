"""Evaluated runs, read from their folders and nothing else, and pooled over seeds."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from yaml import YAMLError, safe_load

from harmony.core import REFERENCE, ConfigError, DataError, Row, by_subject, read_rows
from harmony.core.runs import stages_of
from harmony.core.vocabulary import RESULTS, describe, direction
from harmony.metrics import Against, Interval, against, holm, mean_interval

# What does not decide a score.
_ASIDE = (
    "seed",
    "runs",
    "cache",
    "stages",
    "logger",
    "name",
    "methods",
    "flow",
    "tasks",
    "method",
    "judge",
    "published",
)


@dataclass(frozen=True)
class EvaluatedRun:
    """One run folder with results.csv and config.yaml; what else is missing is empty."""

    path: Path
    config: dict[str, Any]
    rows: list[Row]
    summary: dict[str, Any]
    environment: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> EvaluatedRun:
        """Raises DataError for files that are not what an evaluation writes."""
        try:
            config = safe_load((path / "config.yaml").read_text(encoding="utf-8"))
            rows = read_rows(path / "results.csv")
            run = cls(path, config, rows, _json(path / "summary.json"), _json(path / "environment.json"))
            run.flat()
        except (OSError, KeyError, AttributeError, TypeError, ValueError, YAMLError) as error:
            raise DataError(
                f"not the folder of an evaluation ({type(error).__name__}: {error})",
                cure="give folders that harmony.evaluate wrote, with config.yaml and results.csv",
                path=path,
            ) from error
        if not rows:
            raise DataError("no results in results.csv", cure="evaluate again", path=path)
        return run

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def judges(self) -> list[str]:
        return list(self.config["evaluation"].get("judges") or [])

    @property
    def stages(self) -> list[str]:
        """The stages whose networks were used by methods and judges; the flow scores every image."""
        users = [self.config["method"][name] for name in self.config["methods"]]
        users += [self.config["judge"][name] for name in self.judges]
        return list(dict.fromkeys(["flow", *(stage for user in users for stage in stages_of(user))]))

    @property
    def trained(self) -> dict[str, dict[str, Any]]:
        """Stage -> summary of its training: kept by newer runs, else read beside the run, else only the name."""
        kept: dict[str, dict[str, Any]] = self.summary.get("trained", {})
        models = self.path.absolute().parents[1] / "models"
        return {
            stage: {"name": name} | (kept.get(stage) or _json(models / name / "summary.json"))
            for stage, name in self.summary.get("models", {}).items()
        }

    def flat(self) -> dict[str, Any]:
        """Every setting that decides a score: dotted key -> value. The run's own seed is left out wherever it went."""
        asked = {key: value for key, value in self.config.items() if key not in _ASIDE}
        asked["method"] = {name: self.config["method"][name] for name in self.config["methods"]}
        asked["judge"] = {name: self.config["judge"][name] for name in self.judges}
        asked["tasks"] = {stage: self.config["tasks"][stage] for stage in self.stages}
        return {
            key: value
            for key, value in _flatten(asked)
            if not (key.endswith(".seed") and not key.startswith("data.") and value == self.seed)
            and key not in ("data.cache", "data.source.folder", "data.title")
        }


@dataclass(frozen=True)
class Group:
    """The seeds of one configuration. label: what sets it apart from the other groups; empty for a single one."""

    label: str
    runs: list[EvaluatedRun]

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]


class Entry(NamedTuple):
    """A column of the comparison: a method of a group."""

    method: str
    group: int


class Cell(NamedTuple):
    """A score of one entry on one domain. by_seed: the mean of each seed; spread: their standard deviation (n - 1)."""

    interval: Interval
    by_seed: list[float]
    spread: float | None


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
            for method in dict.fromkeys(row.method for run in group.runs for row in run.rows)
        ]

    @cached_property
    def domains(self) -> list[str]:
        """The untouched reference last: it asks another question."""
        names = list(dict.fromkeys(row.domain for run in self.runs for row in run.rows))
        return sorted(names, key=lambda name: name == "reference")

    @cached_property
    def metrics(self) -> list[str]:
        """Known ones in the vocabulary's order, then the others."""
        found = list(dict.fromkeys(row.metric for run in self.runs for row in run.rows))
        return [name for name in RESULTS if name in found] + [name for name in found if name not in RESULTS]

    @property
    def runs(self) -> list[EvaluatedRun]:
        return [run for group in self.groups for run in group.runs]

    @cached_property
    def subjects(self) -> list[str]:
        return sorted({row.subject for run in self.runs for row in run.rows})

    @cached_property
    def _values(self) -> dict[tuple[Entry, str, str], dict[str, list[float]]]:
        """(entry, domain, metric) -> subject -> one value per seed, the mean over the subject's scans."""
        found: dict[tuple[Entry, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for k, group in enumerate(self.groups):
            for run in group.runs:
                for (method, domain, metric), values in by_subject(run.rows).items():
                    for subject, value in values.items():
                        found[Entry(method, k), domain, metric][subject].append(value)
        return found

    def values(self, entry: Entry, domain: str, metric: str) -> dict[str, float]:
        """Subject -> mean over the seeds; a subject without a finite value in every seed is left out."""
        found = self._values.get((entry, domain, metric), {})
        seeds = len(self.groups[entry.group].runs)
        whole = {name: each for name, each in found.items() if len(each) == seeds and np.isfinite(each).all()}
        return {name: float(np.mean(each)) for name, each in whole.items()}

    @cached_property
    def cells(self) -> dict[tuple[Entry, str, str], Cell]:
        return {key: self._cell(*key) for key in self._values if self.values(*key)}

    def _cell(self, entry: Entry, domain: str, metric: str) -> Cell:
        values = self.values(entry, domain, metric)
        per_seed = [self._values[entry, domain, metric][name] for name in values]
        by_seed = np.mean(per_seed, axis=0).tolist()
        spread = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None
        cross_validated = describe(metric).cross_validated
        return Cell(mean_interval(list(values.values()), cross_validated=cross_validated), by_seed, spread)

    def best(self, domain: str, metric: str) -> list[Entry]:
        """Which entries have the best mean; none where no way is better, or all are alike."""
        found = {
            entry: self.cells[entry, domain, metric] for entry in self.entries if (entry, domain, metric) in self.cells
        }
        sign = direction(metric)
        if sign == 0:
            return []
        top = max((sign * cell.interval.mean for cell in found.values()), default=0.0)
        best = [entry for entry, cell in found.items() if sign * cell.interval.mean == top]
        return best if len(best) < len(found) else []

    @cached_property
    def tests(self) -> dict[tuple[Entry, str, str], Test]:
        """Every entry against `none`, of metrics that score an image and have a better way."""
        return dict(pair for metric in self.metrics for pair in self._tests(metric))

    def _tests(self, metric: str) -> Iterator[tuple[tuple[Entry, str, str], Test]]:
        found: dict[tuple[Entry, str, str], Against] = {}
        for entry in self.entries:
            for domain in self.domains:
                base = self.values(Entry("none", entry.group), domain, metric)
                test = against(metric, self.values(entry, domain, metric), base)
                if entry.method != "none" and test is not None:
                    found[entry, domain, metric] = test
        family = [key for key in found if key[1] != REFERENCE]
        adjusted = dict(zip(family, holm([found[key].p for key in family]), strict=True))
        for key, test in found.items():
            yield key, Test(test, adjusted.get(key))

    def of_scan(self, entry: Entry, domain: str, metric: str, scan: str) -> float | None:
        """Mean over the seeds; None where a seed has no finite value."""
        rows = [row for run in self.groups[entry.group].runs for row in run.rows]
        key = (entry.method, domain, metric, scan)
        found = [row.value for row in rows if (row.method, row.domain, row.metric, row.scan) == key]
        whole = len(found) == len(self.groups[entry.group].runs) and np.isfinite(found).all()
        return float(np.mean(found)) if whole else None

    def missing(self) -> list[str]:
        """Subjects without a finite value that others of the same domain and metric have, in words."""
        lines = []
        for (entry, domain, metric), found in self._values.items():
            lost = sorted(found.keys() - self.values(entry, domain, metric).keys())
            if lost:
                lines.append(f"{entry.method} on {domain}, {metric}: no value in every seed for {', '.join(lost)}")
        for domain in self.domains:
            have = {
                e: {name for key, each in self._values.items() if key[:2] == (e, domain) for name in each}
                for e in self.entries
            }
            everyone = set().union(*have.values())
            lines += [
                f"{entry.method} on {domain}: not scored for {', '.join(sorted(everyone - names))}"
                for entry, names in have.items()
                if everyone - names and names
            ]
        return lines


class Found(NamedTuple):
    """Finished evaluations, and the run folders that have no results (with what is known about why)."""

    runs: list[EvaluatedRun]
    unfinished: dict[str, str]


def find_runs(folders: Sequence[Path]) -> Found:
    """Each folder is a run, a sweep (`jobs/*.json` say what became of each job), or holds runs.

    Raises DataError for anything else.
    """
    runs: dict[Path, EvaluatedRun] = {}
    unfinished: dict[str, str] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DataError("no such folder", cure="give run folders, or the folder of a sweep", path=folder)
        candidates = [folder] if _is_run(folder) else sorted(filter(_is_run, folder.iterdir()))
        for path in sorted((folder / "jobs").glob("*.json")):
            job = _json(path)
            if "evaluate" in job["runs"]:
                candidates.append(Path(job["runs"]["evaluate"]))
            else:
                unfinished[" ".join(job["overrides"])] = job["problem"] or f"{job['state']}, nothing evaluated"
        for path in candidates:
            if (path / "results.csv").exists():
                runs[path.resolve()] = EvaluatedRun.load(path)
            else:
                stopped = (path / "INTERRUPTED").exists()
                unfinished[path.name] = (
                    "stopped; the same command goes on" if stopped else "no results in it: not evaluated, or failed"
                )
        if not candidates:
            raise DataError(
                "no evaluated run in it", cure="give folders with results.csv, as harmony.evaluate writes", path=folder
            )
    if not runs:
        raise DataError(
            f"nothing was evaluated: {'; '.join(f'{name}: {why}' for name, why in unfinished.items())}",
            cure="finish with harmony.evaluate",
            path=folders[0],
        )
    return Found(list(runs.values()), unfinished)


def compare(runs: Sequence[EvaluatedRun]) -> Comparison:
    """Seeds of one configuration pooled; configurations side by side. Raises ConfigError for runs on different data."""
    grouped: dict[str, list[EvaluatedRun]] = {}
    for run in runs:
        grouped.setdefault(json.dumps(run.flat(), sort_keys=True, default=str), []).append(run)
    for same in grouped.values():
        twice = [run for run in same if [other.seed for other in same].count(run.seed) > 1]
        if twice:
            raise ConfigError(f"{twice[0].path} and {twice[1].path}: the same seed twice -> give one of them")
    members = [sorted(same, key=lambda run: run.seed) for same in grouped.values()]
    heads = [same[0].flat() for same in members]
    apart = [
        key for key in dict.fromkeys(key for flat in heads for key in flat) if len({str(f.get(key)) for f in heads}) > 1
    ]
    data = [key for key in apart if _decides_data(key)]
    if data:
        values = [str(flat.get(data[0])) for flat in heads]
        other = next(k for k, value in enumerate(values) if value != values[0])
        raise ConfigError(
            f"{members[0][0].path} and {members[other][0].path}: scored on different data ({data[0]}: {values[0]} and "
            f"{values[other]}), which cannot be compared -> make a page of each"
        )
    labels = [_label(flat, apart) for flat in heads]
    if len(set(labels)) < len(labels):
        labels = [f"{label}, {same[0].path.name}" for label, same in zip(labels, members, strict=True)]
    return Comparison([Group(label, same) for label, same in zip(labels, members, strict=True)])


def _label(flat: Mapping[str, Any], apart: Sequence[str]) -> str:
    """`steps=4, hidden_channels=48`: at most three of the settings that differ."""
    said: dict[str, str] = {}
    for key in apart:
        name = key.removeprefix("method.").removeprefix("tasks.")
        if key in flat:
            said[name] = f"{name}={flat[key]}"
    return ", ".join(list(said.values())[:3])


def _decides_data(key: str) -> bool:
    return key.startswith(("data.source.", "data.preprocess.", "data.shares.", "evaluation.part")) or key in (
        "data.count", "data.step", "data.split_seed",
    )  # fmt: skip


def _is_run(path: Path) -> bool:
    named = path.is_dir() and path.name.startswith("seed")
    return (path / "results.csv").exists() or (named and not (path / "model.safetensors").exists())


def _flatten(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flatten(value, f"{where}.{key}".lstrip("."))
    else:
        yield where, node


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
