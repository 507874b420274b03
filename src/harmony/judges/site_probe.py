"""Guess the site: can a simple classifier tell harmonized query slices from slices of the reference scanner?

A probe that was fitted to unharmonized images and frozen flatters a method: it looks only where the unharmonized image
differed. One that is fitted again to the harmonized images finds what the method left, and what it added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from harmony.core import REFERENCE, Stack
from harmony.data import watched
from harmony.judges.contracts import Cohort, CohortJudge, Examples
from harmony.judges.probe import Probe
from harmony.judges.quality import Quality, quality

IMAGE, TRUTH = "image", "truth"


class SiteProbe(CohortJudge):
    """A frozen probe for each scanner that there are examples of, and one that is fitted again to each cohort.

    quantiles, scales, penalty, folds: of the probe (`Probe`). examples: those of the reference scanner under REFERENCE,
    the others by the domain's name; a real domain has none, and so no frozen probe.

    `conclude` gives `site_frozen` and `site_retrained`: balanced accuracies by subject, 0.5 where the scanners cannot
    be told apart. Subjects without a truth are told from the untouched reference scans of others.
    """

    def __init__(
        self,
        *,
        quantiles: Sequence[float],
        scales: Sequence[int],
        penalty: float,
        folds: int,
        examples: Mapping[str, Examples],
    ) -> None:
        self.probe = Probe(quantiles=quantiles, scales=scales, penalty=penalty, folds=folds)
        simulated = [domain for domain in examples if domain != REFERENCE]
        known = self._features(examples[REFERENCE].training) if simulated else []
        scored = self._features(examples[REFERENCE].scored) if simulated else []
        self.frozen, self.examined = {}, {}
        for domain in watched(simulated, "fitting site probes"):
            self.frozen[domain] = self.probe.fit(known, self._features(examples[domain].training))
            made = self._features(examples[domain].scored)
            self.examined[domain] = self.probe.ask(self.frozen[domain], scored, made)

    def observe(self, stack: Stack, truth: Stack | None, measured: Mapping[str, float]) -> dict[str, Tensor]:
        kept = {IMAGE: stack} if truth is None else {IMAGE: stack, TRUTH: truth}
        return {name: self.probe.features(each) for name, each in kept.items()}

    def conclude(self, cohort: Cohort) -> dict[str, dict[str, float]]:
        subjects = sorted(cohort.query)
        query = [cohort.query[subject][IMAGE] for subject in subjects]
        truths = [cohort.query[subject][TRUTH] for subject in subjects if TRUTH in cohort.query[subject]]
        others = [cohort.reference[subject][IMAGE] for subject in sorted(cohort.reference)]
        answers = {}
        if cohort.domain in self.frozen:
            answers["site_frozen"] = self.probe.ask(self.frozen[cohort.domain], truths, query)
        if truths and len(query) > 1:
            answers["site_retrained"] = self.probe.retrained(truths, query)
        elif not truths and min(len(query), len(others)) > 1:
            answers["site_retrained"] = self.probe.retrained_unpaired(others, query)
        return {metric: dict(zip(subjects, values, strict=True)) for metric, values in answers.items()}

    def qualities(self, name: str) -> list[Quality]:
        return [
            quality(f"{name} {domain}", "site_frozen", "a coin", [(answer, 0.5) for answer in answers], sign=1)
            for domain, answers in self.examined.items()
        ]

    def _features(self, stacks: Iterable[Stack]) -> list[Tensor]:
        return [self.probe.features(stack) for stack in stacks]
