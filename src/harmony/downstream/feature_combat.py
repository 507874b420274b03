"""What the judges measured, harmonized in place of the images: ComBat on tissue volumes and predicted ages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from harmony.core import REFERENCE, Row
from harmony.downstream.combat import ComBat, fit_combat

UNHARMONIZED = "none"  # the method whose rows are used
AGE, AGE_ERROR = "age_predicted", "age_signed_error"

Numbers = dict[str, float]  # metric -> value
People = dict[str, dict[str, Numbers]]  # subject -> scan -> numbers


@dataclass(frozen=True)
class FeatureComBat:
    """A rival that needs subjects of both scanners, and their numbers only.

    Each query domain is brought to the untouched reference scans. It is fitted to people, each with the mean over their
    scans, and applied to scans. Volumes keep the effect of age where all ages are known; the predicted age is fitted
    among the volumes without it, since a true age must not help to predict itself.
    """

    empirical_bayes: bool

    def rows(self, name: str, domain: str, rows: Iterable[Row]) -> list[Row]:
        """rows: of any methods and domains; those of unharmonized scans are used. Returns `name`'s for the domain.

        Of the reference domain: the scans that ComBat is fitted to as its reference stay as they are, by construction,
        and say nothing of its cost. So each half of the people is brought to the other half, as if it were from another
        scanner. What changes is the cost, of an estimate from half as many people.

        Raises DataError for fewer than two subjects, or ages that the sites explain (`fit_combat`). A number that is
        the same in all subjects of a site is left out.
        """
        rows = [row for row in rows if row.method == UNHARMONIZED]
        reference = _measured(rows, REFERENCE)
        if domain != REFERENCE:
            return self._brought(name, domain, reference, _measured(rows, domain))
        order = sorted(reference)
        one, other = ({subject: reference[subject] for subject in order[k::2]} for k in (0, 1))
        return self._brought(name, domain, one, other) + self._brought(name, domain, other, one)

    def _brought(self, name: str, domain: str, reference: People, query: People) -> list[Row]:
        """The rows of the query people."""
        means = [[_mean(scans.values()) for scans in side.values()] for side in (reference, query)]
        everyone = [*means[0], *means[1]]
        site = [REFERENCE] * len(reference) + [_label(domain)] * len(query)
        common = set.intersection(*map(set, everyone)) if everyone else set()
        volumes = sorted(
            metric
            for metric in common
            if metric.startswith("volume_") and all(len({found[metric] for found in side}) > 1 for side in means)
        )
        aged = AGE_ERROR in common and AGE in common
        scans = [(subject, scan, found) for subject, each in query.items() for scan, found in each.items()]
        made: list[Numbers] = [{} for _ in scans]
        for features, covariate, kept in ((volumes, aged, volumes), ([*volumes, AGE], False, [AGE])):
            if kept and common.issuperset(kept):
                fitted = self._fit(everyone, site, features, covariate)
                for numbers, values in zip(made, _applied(fitted, scans, domain, features, covariate), strict=True):
                    numbers |= {metric: values[metric] for metric in kept}
        return [
            Row(name, domain, subject, metric, value, scan)
            for (subject, scan, found), numbers in zip(scans, made, strict=True)
            for metric, value in (numbers | _errors(found, numbers)).items()
        ]

    def _fit(self, everyone: Sequence[Numbers], site: Sequence[str], features: Sequence[str], aged: bool) -> ComBat:
        shrink = self.empirical_bayes and len(features) > 1
        table, ages = _table(everyone, features, aged=aged)
        return fit_combat(table, site, ages, reference=REFERENCE, empirical_bayes=shrink)


def _applied(
    fitted: ComBat, scans: Sequence[tuple[str, str, Numbers]], domain: str, features: Sequence[str], aged: bool
) -> list[Numbers]:
    table, ages = _table([found for _, _, found in scans], features, aged=aged)
    brought = fitted.apply(table, [_label(domain)] * len(scans), ages)
    return [dict(zip(features, map(float, values), strict=True)) for values in brought]


def _table(numbers: Sequence[Numbers], features: Sequence[str], *, aged: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """(N, F), and the true ages (N, 1) where they are asked for."""
    table = np.array([[found[feature] for feature in features] for found in numbers])
    return table, np.array([[found[AGE] - found[AGE_ERROR]] for found in numbers]) if aged else None


def _errors(found: Numbers, numbers: Numbers) -> Numbers:
    """Of the new predicted age, where the true one is known."""
    if AGE not in numbers or AGE_ERROR not in found:
        return {}
    error = numbers[AGE] - (found[AGE] - found[AGE_ERROR])
    return {AGE_ERROR: error, "age_error": abs(error)}


def _measured(rows: Iterable[Row], domain: str) -> People:
    found: People = {}
    for row in rows:
        if row.domain == domain:
            found.setdefault(row.subject, {}).setdefault(row.scan, {})[row.metric] = row.value
    return found


def _mean(scans: Iterable[Mapping[str, float]]) -> Numbers:
    """Of what all the scans have."""
    each = list(scans)
    return {metric: fmean(found[metric] for found in each) for metric in set.intersection(*map(set, each))}


def _label(domain: str) -> str:
    return "reference, taken for another" if domain == REFERENCE else domain
