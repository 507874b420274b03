"""The judges of an experiment: their own quality on reference scans first, then one question after the other."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file, save_file
from sklearn.pipeline import Pipeline
from torch import Tensor

from harmony import app
from harmony.core import REFERENCE, ConfigError, DataError, Row, Stack, Volume
from harmony.core.files import atomic_path
from harmony.core.margins import margin
from harmony.core.vocabulary import direction
from harmony.data import QueryScanner, SliceDataModule, watched
from harmony.domains import Case, QueryDomain
from harmony.downstream import AdaptiveJudge, FeatureComBat, Judge, Scans, Segmentation, SiteProbe, Truth
from harmony.downstream.site_probe import LEAST as LEAST_PEOPLE
from harmony.metrics import mean_interval

TRUTH = "truth"  # among the kept features: those of the untouched reference image


@dataclass(frozen=True)
class Quality:
    """How a judge does on untouched reference scans, beside an answer without looking.

    able: it is better than that by what matters; the 95 % interval of the paired difference says so.
    """

    judge: str
    metric: str
    subjects: int
    value: float
    trivial: float
    baseline: str
    able: bool

    def line(self) -> str:
        verdict = "" if self.able else " - it CANNOT do its task there, and its rows say nothing"
        asked = f"{self.metric} {self.value:.3f} (n={self.subjects})"
        return f"  {self.judge}: {asked}; {self.baseline}: {self.trivial:.3f}{verdict}"


@dataclass
class Jury:
    """The judges of `evaluation.judges`. They are given images, and never the name of a method.

    harmonized: by name, asked of every method's image. query: asked of the unharmonized image, their rows carry their
    own names in place of a method's. numbers: likewise, asked of what the others measured.
    probe: the site probe; frozen: its classifiers by simulated query domain; reference: its features of the untouched
    scored reference scans.
    """

    harmonized: dict[str, Judge] = field(default_factory=dict)
    query: dict[str, Judge] = field(default_factory=dict)
    numbers: dict[str, FeatureComBat] = field(default_factory=dict)
    probe: SiteProbe | None = None
    frozen: dict[str, Pipeline] = field(default_factory=dict)
    reference: Scans = field(default_factory=dict)

    def adapt(self, stacks: Sequence[Stack]) -> None:
        """Each adaptive judge, from its initial state, to the unlabelled query scans of one domain."""
        for judge in self.query.values():
            if isinstance(judge, AdaptiveJudge):
                judge.reset()
                judge.adapt([stack.to(app.device()) for stack in stacks])

    def rows(self, domain: str, query: Stack, truth: Truth, images: Mapping[str, Tensor]) -> list[Row]:
        """What the judges say of one subject. images: (S, 1, H, W) by method, on the grid of the query."""
        stacks = {name: Stack(image, query.mask, query.position).to(app.device()) for name, image in images.items()}
        asked = [(name, judge, stack) for judge in self.harmonized.values() for name, stack in stacks.items()]
        asked += [(name, judge, query.to(app.device())) for name, judge in self.query.items()]
        return [
            Row(name, domain, truth.subject, metric, value, truth.name)
            for name, judge, stack in asked
            for metric, value in judge.score(stack, truth).items()
        ]

    def labels(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(S, H, W) label map of each image by the first segmentation judge; empty without one."""
        for judge in self.harmonized.values():
            if isinstance(judge, Segmentation):
                return {name: judge.labels(image.to(app.device())) for name, image in images.items()}
        return {}

    def keep(self, path: Path, query: Stack, truth: Stack | None, images: Mapping[str, Tensor]) -> None:
        """The site probe's features of one subject: it is asked when all subjects are there (`site_rows`)."""
        if self.probe is None:
            return
        found = {} if truth is None else {TRUTH: self.probe.features(truth)}
        for name, image in images.items():
            found[f"method/{name}"] = self.probe.features(Stack(image, query.mask, query.position))
        with atomic_path(path) as temporary:
            save_file(found, temporary)

    def site_rows(self, domain: str, kept: Mapping[str, tuple[str, Path]]) -> list[Row]:
        """Frozen and retrained probe on one query domain. kept: scan -> its subject, and its features (`keep`).

        A real domain has no frozen one: it has no training scans. Scans without a truth are told from `reference`.
        """
        if self.probe is None or domain == REFERENCE:
            return []
        features = {scan: load_file(path) for scan, (_, path) in kept.items()}
        subjects = {scan: subject for scan, (subject, _) in kept.items()}
        truths = {scan: found[TRUTH] for scan, found in features.items() if TRUTH in found}
        reference = by_person(truths, subjects) or self.reference
        people = len({subjects[scan] for scan in kept})
        if min(people, len(reference)) < LEAST_PEOPLE:
            there = f"{people} people there, {len(reference)} on the reference scanner"
            print(f"  no retrained site probe on {domain}: {there}; it takes {LEAST_PEOPLE}", flush=True)
        rows = []
        for key in dict.fromkeys(key for found in features.values() for key in found if key != TRUTH):
            query = by_person({scan: found[key] for scan, found in features.items()}, subjects)
            answers = {"site_retrained": self.probe.retrained(reference, query)}
            if domain in self.frozen:
                answers["site_frozen"] = self.probe.ask(self.frozen[domain], reference, query)
            rows += [
                Row(key.removeprefix("method/"), domain, subject, metric, value, scan)
                for metric, found in answers.items()
                for subject, values in found.items()
                for scan, value in zip([each for each in kept if subjects[each] == subject], values, strict=True)
            ]
        return rows

    def number_rows(self, rows: Sequence[Row]) -> list[Row]:
        """What the rivals make of the numbers, when all subjects of all domains are there."""
        made: list[Row] = []
        for name, rival in self.numbers.items():
            for domain in dict.fromkeys(row.domain for row in rows):
                try:
                    made += rival.rows(name, domain, rows)
                except DataError as error:  # everything else is scored by now
                    print(f"  {name} says nothing of {domain}: {error}", flush=True)
        return made


def assemble(cfg: DictConfig, data: SliceDataModule, networks: Mapping[str, torch.nn.Module]) -> Jury:
    """The judges that the config names. `models` in a judge's config names the stages whose networks it gets."""
    jury = Jury()
    for name in cfg.evaluation.judges:
        node = OmegaConf.create(app.plain(cfg.judge[name]))
        models, sees = node.pop("models", {}), node.pop("sees", None)
        if sees is None:
            jury.probe = app.build(node)
            continue
        if sees not in ("harmonized", "query", "numbers"):
            raise ConfigError(f"judge.{name}.sees={sees}: a judge sees the harmonized image, the query or the numbers")
        if sees != "harmonized" and name in cfg.methods:
            raise ConfigError(f"judge.{name}: there is a method of this name -> name the judge otherwise")
        if sees == "numbers":
            if "none" not in cfg.methods or not cfg.evaluation.include_reference:
                raise ConfigError(
                    f"evaluation.judges: {name} compares unharmonized with reference scans -> "
                    "add none to methods, and evaluation.include_reference=true"
                )
            jury.numbers[name] = app.build(node)
            continue
        partial = app.build(node)
        at_hand: dict[str, Any] = {argument: networks[stage] for argument, stage in models.items()}
        if "mean_age" in inspect.signature(partial.func).parameters:
            at_hand["mean_age"] = mean_age(name, data)
        group = jury.harmonized if sees == "harmonized" else jury.query
        group[name] = partial(**at_hand)
    if jury.numbers and not jury.harmonized:
        raise ConfigError(
            f"evaluation.judges: {', '.join(jury.numbers)} needs what others measure -> add tissue or age"
        )
    return jury


def examine(
    cfg: DictConfig,
    jury: Jury,
    data: SliceDataModule,
    volumes: Sequence[Volume],
    domains: Sequence[QueryDomain],
) -> list[Quality]:
    """Fit the frozen probes, and ask every judge about untouched reference scans."""
    cases = [(cut.query, cut.known) for cut in (Case(volume, volume).cut(cfg) for volume in volumes)]
    found = []
    for name, judge in (jury.harmonized | jury.query).items():
        pairs: dict[str, list[tuple[float, float]]] = {}
        for stack, truth in cases:
            trivial = judge.trivial(stack, truth)
            score = {} if trivial is None else judge.score(stack.to(app.device()), truth)
            if trivial is not None and judge.metric in score:
                pairs.setdefault(truth.subject, []).append((score[judge.metric], trivial))
        found.append(quality(name, judge.metric, judge.baseline, pairs))
    if jury.probe is not None:
        found += fit_probes(cfg, jury, jury.probe, data.volumes("train"), volumes, domains)
    return found


def announce(cfg: DictConfig, found: Sequence[Quality]) -> None:
    """How good the judges are, before anything that they say."""
    if found:
        print(f"judges on untouched {cfg.evaluation.part} scans of the reference scanner:")
        print("\n".join(each.line() for each in found), flush=True)


def fit_probes(
    cfg: DictConfig,
    jury: Jury,
    probe: SiteProbe,
    train: Sequence[Volume],
    volumes: Sequence[Volume],
    domains: Sequence[QueryDomain],
) -> list[Quality]:
    """A probe for each simulated query domain, from training subjects; how well it tells it from the reference."""

    def features(of: Iterable[Volume], scanner: QueryScanner | None) -> Scans:
        found = {volume.scan.name: probe.features(Case(volume, None, scanner).cut(cfg).query) for volume in of}
        return by_person(found, {volume.scan.name: volume.scan.subject for volume in of})

    found = []
    jury.reference = features(volumes, None)
    simulated = [(domain.name, domain.scanner) for domain in domains if domain.scanner is not None]
    known = features(train, None) if simulated else {}
    for domain, scanner in watched(simulated, "fitting site probes"):
        jury.frozen[domain] = probe.fit(known, features(train, scanner))
        answers = probe.ask(jury.frozen[domain], jury.reference, features(volumes, scanner))
        pairs = {subject: [(answer, 0.5) for answer in each] for subject, each in answers.items()}
        found.append(quality(f"site {domain}", probe.metric, probe.baseline, pairs, sign=1))
    return found


def by_person(features: Mapping[str, Tensor], subjects: Mapping[str, str]) -> dict[str, list[Tensor]]:
    """scan -> features, as subject -> the features of each scan."""
    found: dict[str, list[Tensor]] = {}
    for scan, each in features.items():
        found.setdefault(subjects[scan], []).append(each)
    return found


def quality(
    name: str,
    metric: str,
    baseline: str,
    pairs: Mapping[str, Sequence[tuple[float, float]]],
    sign: int | None = None,
) -> Quality:
    """pairs: subject -> (judge, trivial answer) of each scan. sign: +1: larger is better; None: as for the metric."""
    sign = direction(metric) if sign is None else sign
    means = [np.mean(each, axis=0) for each in pairs.values()]  # a subject's scans count once
    value, trivial = np.mean(means, axis=0).tolist() if means else (math.nan, math.nan)
    return Quality(name, metric, len(means), value, trivial, baseline, able=able(metric, sign, means))


def able(metric: str, sign: int, pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether the judge is better than the trivial answer, by the metric's margin at the worse end of its interval.

    pairs: (judge, trivial answer) of each subject. Fewer than 3 have no interval, and can show nothing.
    """
    needed = margin(metric)
    gain = mean_interval([sign * (value - trivial) for value, trivial in pairs])
    return bool(gain.low > (needed.able if needed is not None and needed.able is not None else 0))


def mean_age(name: str, data: SliceDataModule) -> float:
    ages = [scan.age for scan in data.split()["train"] if scan.age is not None]
    if not ages:
        raise ConfigError(f"evaluation.judges: {name} needs ages, and no training subject has one -> leave it out")
    return mean(ages)
