"""What the judges measured, harmonized in place of the images: ComBat on tissue volumes and predicted ages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from harmony.core import REFERENCE, Stack
from harmony.judges.combat import fit_combat
from harmony.judges.contracts import Cohort, CohortJudge, Kept
from harmony.judges.quality import Quality

AGE = "age_predicted"
SIGNED = "age_signed_error"
Numbers = list[dict[str, float]]  # of each subject


class FeatureComBat(CohortJudge):
    """A rival that needs subjects of both scanners, and their numbers only.

    Each query domain is brought to the untouched reference scans. Volumes keep the effect of age where all ages are
    known; the predicted age is fitted among the volumes without it, since a true age must not help to predict itself.
    """

    def __init__(self, *, empirical_bayes: bool) -> None:
        self.empirical_bayes = empirical_bayes

    def observe(self, stack: Stack, truth: Stack | None, measured: Mapping[str, float]) -> dict[str, Tensor]:
        wanted = {
            name: value for name, value in measured.items() if name.startswith("volume_") or name in (AGE, SIGNED)
        }
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in wanted.items()}

    def conclude(self, cohort: Cohort) -> dict[str, dict[str, float]]:
        """Raises DataError for fewer than two subjects, or ages that the sites explain (`fit_combat`). A number that is
        the same in all subjects of a site is left out."""
        subjects = sorted(cohort.query)
        reference, query = numbers(cohort.reference), numbers(cohort.query)
        everyone = [*reference, *query]
        site = [REFERENCE] * len(reference) + [cohort.domain] * len(query)
        common = set.intersection(*map(set, everyone)) if everyone else set()
        volumes = sorted(name for name in common if name.startswith("volume_") and varies(name, reference, query))
        ages = [found[AGE] - found[SIGNED] for found in everyone if SIGNED in found]
        known = np.array(ages)[:, None] if len(ages) == len(everyone) else None
        made: dict[str, dict[str, float]] = {}
        if volumes:
            table = self._fitted(everyone, site, volumes, known)[len(reference) :]
            made |= {name: by_subject(subjects, column) for name, column in zip(volumes, table.T, strict=True)}
        if AGE in common:
            table = self._fitted(everyone, site, [*volumes, AGE], None)[len(reference) :]
            made |= age_rows(by_subject(subjects, table[:, -1]), dict(zip(subjects, query, strict=True)))
        return made

    def qualities(self, name: str) -> list[Quality]:
        return []

    def _fitted(
        self, everyone: Numbers, site: list[str], features: list[str], covariates: np.ndarray | None
    ) -> np.ndarray:
        table = np.array([[found[feature] for feature in features] for found in everyone])
        shrink = self.empirical_bayes and len(features) > 1
        fitted = fit_combat(table, site, covariates, reference=REFERENCE, empirical_bayes=shrink)
        return fitted.apply(table, site, covariates)


def numbers(kept: Mapping[str, Kept]) -> Numbers:
    """By subject, in the order of their names."""
    return [{name: float(value) for name, value in kept[subject].items()} for subject in sorted(kept)]


def varies(name: str, *groups: Numbers) -> bool:
    return all(len({found[name] for found in group}) > 1 for group in groups)


def by_subject(subjects: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return dict(zip(subjects, map(float, values), strict=True))


def age_rows(predicted: dict[str, float], query: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The harmonized predictions, and their errors where the age is known."""
    signed = {
        subject: value - query[subject][AGE] + query[subject][SIGNED]
        for subject, value in predicted.items()
        if SIGNED in query[subject]
    }
    made = {AGE: predicted, SIGNED: signed, "age_error": {subject: abs(error) for subject, error in signed.items()}}
    return {metric: found for metric, found in made.items() if found}
