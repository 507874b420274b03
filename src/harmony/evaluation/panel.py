"""The judges of an evaluation: their own quality on reference scans first, then one question after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from harmony.core import REFERENCE, DataError, Row, Stack
from harmony.core.machine import device
from harmony.evaluation.cases import ScoredSlices
from harmony.judges import AdaptiveJudge, Cohort, CohortJudge, ImageJudge, Quality, Segmentation, quality

UNTOUCHED = "none"  # the method whose image is the query
Score = dict[str, float]  # metric -> value


@dataclass(frozen=True)
class Answers:
    """What the judges say of one case. kept: `judge/shown as/name` -> what cohort judges keep of it."""

    rows: list[Row]
    kept: dict[str, Tensor]


class Panel:
    """Judges by name. They are given images, and never the name of a method.

    judges: asked of every method's image. rivals: asked of the unharmonized image; their rows carry their own names in
    place of a method's. reference: the untouched reference scans of the scored subjects, on which all are examined:
    `qualities` says how they did.
    """

    def __init__(
        self,
        judges: Mapping[str, ImageJudge | CohortJudge],
        rivals: Mapping[str, ImageJudge | CohortJudge],
        reference: Sequence[ScoredSlices],
    ) -> None:
        everyone = {**judges, **rivals}
        self.rivals = frozenset(rivals)
        self.images = {name: judge for name, judge in everyone.items() if isinstance(judge, ImageJudge)}
        self.cohorts = {name: judge for name, judge in everyone.items() if isinstance(judge, CohortJudge)}
        scores = [
            {(name, UNTOUCHED): judge.score(case.query.to(device()), case.known) for name, judge in self.images.items()}
            for case in reference
        ]
        self.qualities = [
            examined(name, judge, reference, [found[name, UNTOUCHED] for found in scores])
            for name, judge in self.images.items()
        ]
        self.qualities += [each for name, judge in self.cohorts.items() for each in judge.qualities(name)]
        self._people = {case.known.name: case.known.subject for case in reference}
        self._reference = {
            name: {
                case.known.name: judge.observe(case.query, None, self._measured(found, UNTOUCHED))
                for case, found in zip(reference, scores, strict=True)
            }
            for name, judge in self.cohorts.items()
        }

    def adapt(self, stacks: Sequence[Stack]) -> None:
        """Each adaptive judge, from its initial state, to the unlabelled query scans of one domain."""
        for judge in self.images.values():
            if isinstance(judge, AdaptiveJudge):
                judge.reset()
                judge.adapt([stack.to(device()) for stack in stacks])

    def ask(self, domain: str, case: ScoredSlices, images: Mapping[str, Tensor]) -> Answers:
        """images: (S, 1, H, W) by method, on the grid of the query."""
        query, truth = case.query.to(device()), case.known
        stacks = {name: replace(query, image=image.to(device())) for name, image in images.items()}
        seen = {name: {name: query} if name in self.rivals else stacks for name in (*self.images, *self.cohorts)}
        scores = {
            (name, shown): judge.score(stack, truth)
            for name, judge in self.images.items()
            for shown, stack in seen[name].items()
        }
        rows = [
            Row(shown, domain, truth.subject, metric, value, truth.name)
            for (_, shown), score in scores.items()
            for metric, value in score.items()
        ]
        kept: dict[str, Tensor] = {}
        asked = {name: judge for name, judge in self.cohorts.items() if domain != REFERENCE or judge.on_reference}
        for name, judge in asked.items():
            for shown, stack in seen[name].items():
                measured = self._measured(scores, UNTOUCHED if name in self.rivals else shown)
                found = judge.observe(stack, case.truth, measured)
                kept |= {f"{name}/{shown}/{own}": tensor for own, tensor in found.items()}
        return Answers(rows, kept)

    def conclude(self, domain: str, kept: Mapping[str, Mapping[str, Tensor]], people: Mapping[str, str]) -> list[Row]:
        """What the cohort judges say of one query domain. kept: scan -> `Answers.kept`. people: scan -> its subject."""
        cohorts: dict[tuple[str, str], dict[str, dict[str, Tensor]]] = defaultdict(lambda: defaultdict(dict))
        for scan, tensors in kept.items():
            for key, tensor in sorted(tensors.items()):
                name, shown, own = key.split("/")
                cohorts[name, shown][scan][own] = tensor
        known = {**self._people, **people}
        return [
            Row(shown, domain, known.get(scan, scan), metric, value, scan)
            for (name, shown), query in cohorts.items()
            for metric, values in self._concluded(name, Cohort(domain, query, self._reference[name], known)).items()
            for scan, value in values.items()
        ]

    def labels(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(S, H, W) label map of each image by the first segmentation judge; empty without one."""
        asked = [judge for name, judge in self.images.items() if name not in self.rivals]
        segmenters = [judge for judge in asked if isinstance(judge, Segmentation)]
        return {name: judge.labels(image.to(device())) for judge in segmenters[:1] for name, image in images.items()}

    def _concluded(self, name: str, cohort: Cohort) -> dict[str, dict[str, float]]:
        try:
            return self.cohorts[name].conclude(cohort)
        except DataError as error:  # everything else is scored by now
            print(f"  {name} says nothing of {cohort.domain}: {error}", flush=True)
            return {}

    def _measured(self, scores: Mapping[tuple[str, str], Score], method: str) -> Score:
        """What the judges that are no rivals say of a method's image."""
        asked = [score for (name, shown), score in scores.items() if shown == method and name not in self.rivals]
        return {metric: value for score in asked for metric, value in score.items()}


def examined(name: str, judge: ImageJudge, reference: Sequence[ScoredSlices], scores: Sequence[Score]) -> Quality:
    """scores: of the untouched reference scans. Those without an answer to compare with are left out."""
    trivial = [judge.trivial(case.query, case.known) for case in reference]
    pairs: dict[str, list[tuple[float, float]]] = {}
    for case, score, value in zip(reference, scores, trivial, strict=True):
        if value is not None and judge.metric in score:
            pairs.setdefault(case.known.subject, []).append((score[judge.metric], value))
    return quality(name, judge.metric, judge.baseline, pairs)


def announce(qualities: Sequence[Quality], part: str) -> None:
    """How good the judges are, before anything that they say."""
    if qualities:
        print(f"judges on untouched {part} scans of the reference scanner:")
        print("\n".join(each.line() for each in qualities), flush=True)
