"""Guess the site: can a simple classifier tell harmonized query slices from slices of the reference scanner?

A probe that was fitted to unharmonized images and frozen flatters a method: it looks only where the unharmonized image
differed. One that is fitted again to the harmonized images finds what the method left, and what it added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from harmony.core import REFERENCE, Stack
from harmony.core.progress import watched
from harmony.judges.contracts import Cohort, CohortJudge, Examples
from harmony.judges.probe import LEAST, Probe, Scans
from harmony.judges.quality import Quality, quality

IMAGE, TRUTH = "image", "truth"
T = TypeVar("T")


class SiteProbe(CohortJudge):
    """A frozen probe for each scanner that there are examples of, and one that is fitted again to each cohort.

    quantiles, scales, penalties, folds: of the probe (`Probe`). examples: those of the reference scanner under
    REFERENCE, the others by the domain's name; a real domain has none, and so no frozen probe.

    `conclude` gives `site_frozen` and `site_retrained`: balanced accuracies by scan, 0.5 where the scanners cannot be
    told apart. Scans without a truth are told from the untouched reference scans of the scored subjects. Fewer than
    three people on either scanner are not asked about anew.
    """

    def __init__(
        self,
        *,
        quantiles: Sequence[float],
        scales: Sequence[int],
        penalties: Sequence[float],
        folds: int,
        examples: Mapping[str, Examples],
    ) -> None:
        self.probe = Probe(quantiles=quantiles, scales=scales, penalties=penalties, folds=folds)
        simulated = [domain for domain in examples if domain != REFERENCE]
        known = self._features(examples[REFERENCE].training) if simulated else {}
        scored = self._features(examples[REFERENCE].scored) if simulated else {}
        self.frozen, self.examined = {}, {}
        self.too_few: set[str] = set()  # domains of which that was said: once, not for every method
        for domain in watched(simulated, "fitting site probes"):
            self.frozen[domain] = self.probe.fit(known, self._features(examples[domain].training))
            made = self._features(examples[domain].scored)
            self.examined[domain] = self.probe.ask(self.frozen[domain], scored, made)

    def observe(self, stack: Stack, truth: Stack | None, measured: Mapping[str, float]) -> dict[str, Tensor]:
        kept = {IMAGE: stack} if truth is None else {IMAGE: stack, TRUTH: truth}
        return {name: self.probe.features(each) for name, each in kept.items()}

    def conclude(self, cohort: Cohort) -> dict[str, dict[str, float]]:
        scans = sorted(cohort.query)
        query = _by_person(cohort, {scan: cohort.query[scan][IMAGE] for scan in scans})
        truths = {scan: cohort.query[scan][TRUTH] for scan in scans if TRUTH in cohort.query[scan]}
        others = {scan: cohort.reference[scan][IMAGE] for scan in sorted(cohort.reference)}
        reference = _by_person(cohort, truths or others)
        answers = {}
        if cohort.domain in self.frozen:
            answers["site_frozen"] = self.probe.ask(self.frozen[cohort.domain], reference, query)
        if retrained := self.probe.retrained(reference, query):
            answers["site_retrained"] = retrained
        elif cohort.domain not in self.too_few:
            self.too_few.add(cohort.domain)
            there = f"{len(query)} people there, {len(reference)} on the reference scanner"
            print(f"  no retrained site probe on {cohort.domain}: {there}; it takes {LEAST}", flush=True)
        owned = _by_person(cohort, {scan: scan for scan in scans})
        return {
            metric: {
                scan: value
                for person, values in found.items()
                for scan, value in zip(owned[person], values, strict=True)
            }
            for metric, found in answers.items()
        }

    def qualities(self, name: str) -> list[Quality]:
        return [
            quality(f"{name} {domain}", "site_frozen", "a coin", against_a_coin(answers), sign=1)
            for domain, answers in self.examined.items()
        ]

    def _features(self, stacks: Iterable[tuple[str, Stack]]) -> Scans:
        found: dict[str, list[Tensor]] = {}
        for subject, stack in stacks:
            found.setdefault(subject, []).append(self.probe.features(stack))
        return found


def against_a_coin(answers: Mapping[str, Sequence[float]]) -> dict[str, list[tuple[float, float]]]:
    return {subject: [(answer, 0.5) for answer in each] for subject, each in answers.items()}


def _by_person(cohort: Cohort, found: Mapping[str, T]) -> dict[str, list[T]]:
    """scan -> what is of it, as person -> what is of each scan, in the same order."""
    people: dict[str, list[T]] = {}
    for scan, each in found.items():
        people.setdefault(cohort.person(scan), []).append(each)
    return people
