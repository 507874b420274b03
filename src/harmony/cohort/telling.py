"""Can the site be told from what is measured of a scan? Before harmonizing, and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harmony.analysis import Interval, mean_interval
from harmony.core import Row
from harmony.judges.probe import Probe, folds

BEFORE, AFTER = "before", "after"  # the methods of a study's rows; their domain is the site
LEAST = 3  # people on either side
SHARES = ("volume_csf_ml", "volume_gm_ml")  # of the brain
BRAIN = "volume_brain_ml"
SEES = ("contrast_", "spread_", "quantile_")  # metrics of these families, beside the shares
ByPerson = Mapping[str, Sequence[Tensor]]  # person -> (1, F) of each scan


@dataclass(frozen=True)
class Telling:
    """Balanced accuracy over people of a site against the reference, 0.5 where it cannot be told.

    before, after: of a classifier that is trained on such scans of other people. frozen: of one that was trained on
    other people's unharmonized scans, asked of harmonized ones: it finds less than is there. Not known (NaN) for fewer
    than three people on either side.
    """

    before: Interval
    after: Interval
    frozen: Interval


def tell_apart(rows: Iterable[Row], site: str, reference: str, probe: Probe) -> Telling:
    """Of a study's rows. What the classifier sees: shares of fluid and grey matter in the brain, the contrasts, the
    spread of white matter and the histogram's quantiles; not the texture."""
    rows = list(rows)
    sides = {when: (_features(rows, when, reference), _features(rows, when, site)) for when in (BEFORE, AFTER)}
    known, asked = sides[BEFORE], sides[AFTER]
    answers: dict[str, list[float]] = {}
    if min(map(len, known)) >= LEAST:
        for rest, held_out in folds(*known, probe.folds):
            there = [{name: side[name] for name in old} for side, old in zip(asked, held_out, strict=True)]
            answers |= probe.ask(probe.fit(*rest), there[0], there[1])
    return Telling(_interval(probe.retrained(*known)), _interval(probe.retrained(*asked)), _interval(answers))


def _interval(answers: Mapping[str, Sequence[float]]) -> Interval:
    """Of a share: no end of it lies outside of 0 .. 1."""
    interval = mean_interval([sum(own) / len(own) for own in answers.values()], cross_validated=True)
    return interval._replace(low=max(interval.low, 0.0), high=min(interval.high, 1.0))


def _features(rows: Iterable[Row], when: str, site: str) -> dict[str, list[Tensor]]:
    scans: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if (row.method, row.domain) == (when, site):
            scans.setdefault((row.subject, row.scan), {})[row.metric] = row.value
    people: dict[str, list[Tensor]] = {}
    for (person, _), own in sorted(scans.items()):
        shares = [own[name] / own[BRAIN] for name in SHARES]
        rest = [value for name, value in sorted(own.items()) if name.startswith(SEES)]
        people.setdefault(person, []).append(torch.tensor([[*shares, *rest]]))
    return people
