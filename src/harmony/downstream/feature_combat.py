"""What the judges measured, harmonized in place of the images: ComBat on tissue volumes and predicted ages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harmony.core import REFERENCE, Row
from harmony.downstream.combat import fit_combat

AGE = "age_predicted"


@dataclass(frozen=True)
class FeatureComBat:
    """A rival that needs subjects of both scanners, and their numbers only.

    Each query domain is brought to the untouched reference scans. Volumes keep the effect of age where all ages are
    known; the predicted age is fitted among the volumes without it, since a true age must not help to predict itself.
    """

    empirical_bayes: bool

    def rows(self, name: str, domain: str, rows: Sequence[Row]) -> list[Row]:
        """rows: of unharmonized scans, the reference's and this domain's among them. Returns `name`'s for the domain.

        Raises DataError for fewer than two subjects, or ages that the sites explain (`fit_combat`). A number that is
        the same in all subjects of a site is left out.
        """
        measured: dict[str, dict[str, dict[str, float]]] = {REFERENCE: defaultdict(dict), domain: defaultdict(dict)}
        for row in rows:
            if row.domain in measured:
                measured[row.domain][row.subject][row.metric] = row.value
        reference, query = measured[REFERENCE], measured[domain]
        everyone = [*reference.values(), *query.values()]
        site = [REFERENCE] * len(reference) + [domain] * len(query)
        common = set.intersection(*(set(found) for found in everyone)) if everyone else set()
        volumes = sorted(
            metric
            for metric in common
            if metric.startswith("volume_")
            and all(len({found[metric] for found in group.values()}) > 1 for group in (reference, query))
        )
        ages = [found[AGE] - found["age_signed_error"] for found in everyone if "age_signed_error" in found]
        known = np.array(ages)[:, None] if len(ages) == len(everyone) else None
        made = [(volumes, self._fitted(everyone, site, volumes, known))] if volumes else []
        if AGE in common:
            features = [*volumes, AGE]
            made.append(([AGE], self._fitted(everyone, site, features, None)[:, -1:]))
        out = [
            Row(name, domain, subject, metric, float(value))
            for metrics, table in made
            for subject, values in zip(query, table[len(reference) :], strict=True)
            for metric, value in zip(metrics, values, strict=True)
        ]
        for row in [row for row in out if row.metric == AGE and "age_signed_error" in query[row.subject]]:
            error = row.value - query[row.subject][AGE] + query[row.subject]["age_signed_error"]
            out += [
                Row(name, domain, row.subject, "age_signed_error", error),
                Row(name, domain, row.subject, "age_error", abs(error)),
            ]
        return out

    def _fitted(
        self, everyone: list[dict[str, float]], site: list[str], features: list[str], covariates: np.ndarray | None
    ) -> np.ndarray:
        table = np.array([[found[feature] for feature in features] for found in everyone])
        shrink = self.empirical_bayes and len(features) > 1
        fitted = fit_combat(table, site, covariates, reference=REFERENCE, empirical_bayes=shrink)
        return fitted.apply(table, site, covariates)
