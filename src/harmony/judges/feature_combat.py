"""What the judges measured, harmonized in place of the images: ComBat on tissue volumes and predicted ages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from harmony.core import REFERENCE, Stack
from harmony.judges.combat import ComBat, fit_combat
from harmony.judges.contracts import Cohort, CohortJudge, Kept
from harmony.judges.quality import Quality

AGE, SIGNED = "age_predicted", "age_signed_error"

Numbers = dict[str, float]  # metric -> value
People = dict[str, dict[str, Numbers]]  # subject -> scan -> numbers


class FeatureComBat(CohortJudge):
    """A rival that needs subjects of both scanners, and their numbers only.

    Each query domain is brought to the untouched reference scans. It is fitted to people, each with the mean over their
    scans, and applied to scans. Volumes keep the effect of age where all ages are known; the predicted age is fitted
    among the volumes without it, since a true age must not help to predict itself.

    Of the reference domain: the scans that ComBat is fitted to as its reference stay as they are, by construction, and
    say nothing of its cost. So each half of the people is brought to the other half, as if it were from another
    scanner. What changes is the cost, of an estimate from half as many people.
    """

    on_reference = True

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
        query = numbers(cohort, cohort.query)
        if cohort.domain != REFERENCE:
            brought = self._brought(cohort.domain, numbers(cohort, cohort.reference), query)
        else:
            order = sorted(query)
            one, other = ({subject: query[subject] for subject in order[k::2]} for k in (0, 1))
            label = "reference, taken for another"
            brought = self._brought(label, one, other) | self._brought(label, other, one)
        made: dict[str, dict[str, float]] = {}
        for scan in sorted(brought):
            for metric, value in brought[scan].items():
                made.setdefault(metric, {})[scan] = value
        return made

    def qualities(self, name: str) -> list[Quality]:
        return []

    def _brought(self, label: str, reference: People, query: People) -> dict[str, Numbers]:
        """Scan of a query person -> its numbers, brought to the reference people's."""
        means = [[_mean(scans.values()) for scans in side.values()] for side in (reference, query)]
        everyone = [*means[0], *means[1]]
        site = [REFERENCE] * len(reference) + [label] * len(query)
        common = set.intersection(*map(set, everyone)) if everyone else set()
        volumes = sorted(name for name in common if name.startswith("volume_") and varies(name, *means))
        aged = AGE in common and SIGNED in common
        scans = {scan: found for each in query.values() for scan, found in each.items()}
        made: dict[str, Numbers] = {scan: {} for scan in scans}
        for features, covariate, kept in ((volumes, aged, volumes), ([*volumes, AGE], False, [AGE])):
            if kept and common.issuperset(kept):
                fitted = self._fit(everyone, site, features, covariate)
                for scan, values in _applied(fitted, scans, label, features, covariate).items():
                    made[scan] |= {metric: values[metric] for metric in kept}
        return {scan: found | errors(scans[scan], found) for scan, found in made.items()}

    def _fit(self, everyone: Sequence[Numbers], site: Sequence[str], features: Sequence[str], aged: bool) -> ComBat:
        shrink = self.empirical_bayes and len(features) > 1
        table, ages = _table(everyone, features, aged=aged)
        return fit_combat(table, site, ages, reference=REFERENCE, empirical_bayes=shrink)


def numbers(cohort: Cohort, kept: Mapping[str, Kept]) -> People:
    """In the order of the scans' names."""
    found: People = {}
    for scan in sorted(kept):
        measured = {name: float(value) for name, value in kept[scan].items()}
        found.setdefault(cohort.person(scan), {})[scan] = measured
    return found


def varies(name: str, *groups: Sequence[Numbers]) -> bool:
    return all(len({found[name] for found in group}) > 1 for group in groups)


def errors(found: Numbers, brought: Numbers) -> Numbers:
    """Of the new predicted age, where the true one is known."""
    if AGE not in brought or SIGNED not in found:
        return {}
    error = brought[AGE] - (found[AGE] - found[SIGNED])
    return {SIGNED: error, "age_error": abs(error)}


def _applied(
    fitted: ComBat, scans: Mapping[str, Numbers], label: str, features: Sequence[str], aged: bool
) -> dict[str, Numbers]:
    table, ages = _table(list(scans.values()), features, aged=aged)
    brought = fitted.apply(table, [label] * len(scans), ages)
    return {
        scan: dict(zip(features, map(float, values), strict=True)) for scan, values in zip(scans, brought, strict=True)
    }


def _table(numbers: Sequence[Numbers], features: Sequence[str], *, aged: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """(N, F), and the true ages (N, 1) where they are asked for."""
    table = np.array([[found[feature] for feature in features] for found in numbers])
    return table, np.array([[found[AGE] - found[SIGNED]] for found in numbers]) if aged else None


def _mean(scans: Iterable[Numbers]) -> Numbers:
    """Of what all the scans have."""
    each = list(scans)
    return {metric: fmean(found[metric] for found in each) for metric in set.intersection(*map(set, each))}
