"""The judges of an evaluation: their own quality on reference scans first, then one question after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from harmony.core import REFERENCE, DataError, Row, Stack
from harmony.core.machine import device
from harmony.evaluation.cases import ScoredSlices
from harmony.judges import AdaptiveJudge, Cohort, CohortJudge, ImageJudge, Quality, Segmentation, quality

Judge = ImageJudge | CohortJudge
Kind = TypeVar("Kind", ImageJudge, CohortJudge, AdaptiveJudge)
Score = dict[str, float]  # metric -> value


@dataclass(frozen=True)
class Answers:
    """What the judges say of one case. kept: `judge/method/name` -> what cohort judges keep of it."""

    rows: list[Row]
    kept: dict[str, Tensor]


class Panel:
    """Judges by name. They are given images, and never the name of a method.

    judges: asked of every method's image. rivals: asked of the unharmonized image; their rows carry their own names in
    place of a method's. reference: the untouched reference scans of the scored subjects, on which all are examined:
    `qualities` says how they did.
    """

    def __init__(
        self, judges: Mapping[str, Judge], rivals: Mapping[str, Judge], reference: Sequence[ScoredSlices]
    ) -> None:
        self.judges, self.rivals = dict(judges), dict(rivals)
        images = of_kind(ImageJudge, self.judges | self.rivals)
        cohorts = of_kind(CohortJudge, self.judges | self.rivals)
        scores = {
            name: [judge.score(case.query.to(device()), case.known) for case in reference]
            for name, judge in images.items()
        }
        self.qualities = [examined(name, judge, reference, scores[name]) for name, judge in images.items()]
        self.qualities += [each for name, judge in cohorts.items() for each in judge.qualities(name)]
        measured = [self._merged({name: scores[name][k] for name in scores}) for k in range(len(reference))]
        self._reference = {
            name: {
                case.known.name: judge.observe(case.query, None, found)
                for case, found in zip(reference, measured, strict=True)
            }
            for name, judge in cohorts.items()
        }

    def adapt(self, stacks: Sequence[Stack]) -> None:
        """Each adaptive rival, from its initial state, to the unlabelled query scans of one domain."""
        for judge in of_kind(AdaptiveJudge, self.rivals).values():
            judge.reset()
            judge.adapt([stack.to(device()) for stack in stacks])

    def ask(self, domain: str, case: ScoredSlices, images: Mapping[str, Tensor]) -> Answers:
        """images: (S, 1, H, W) by method, on the grid of the query."""
        query, truth = case.query, case.known
        stacks = {name: Stack(image, query.mask, query.position).to(device()) for name, image in images.items()}
        scores = {
            (name, method): judge.score(stack, truth)
            for name, judge in of_kind(ImageJudge, self.judges).items()
            for method, stack in stacks.items()
        }
        rivals = of_kind(ImageJudge, self.rivals).items()
        scores |= {(name, name): judge.score(query.to(device()), truth) for name, judge in rivals}
        rows = [
            Row(method, domain, truth.name, metric, value)
            for (_, method), score in scores.items()
            for metric, value in score.items()
        ]
        kept: dict[str, Tensor] = {}
        if domain != REFERENCE:
            for name, method, judge, stack in self._cohorts(stacks):
                measured = self._merged({own: score for (own, of), score in scores.items() if of == method})
                found = judge.observe(stack, case.truth, measured)
                kept |= {f"{name}/{method}/{key}": tensor for key, tensor in found.items()}
        return Answers(rows, kept)

    def conclude(self, domain: str, kept: Mapping[str, Mapping[str, Tensor]]) -> list[Row]:
        """What the cohort judges say of one query domain. kept: subject -> `Answers.kept`."""
        cohorts: dict[tuple[str, str], dict[str, dict[str, Tensor]]] = defaultdict(lambda: defaultdict(dict))
        for subject, tensors in kept.items():
            for key, tensor in sorted(tensors.items()):
                name, method, own = key.split("/")
                cohorts[name, method][subject][own] = tensor
        rows = []
        for (name, method), query in cohorts.items():
            shown = name if name in self.rivals else method
            for metric, values in self._concluded(name, Cohort(domain, query, self._reference[name])).items():
                rows += [Row(shown, domain, subject, metric, value) for subject, value in values.items()]
        return rows

    def labels(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(S, H, W) label map of each image by the first segmentation judge; empty without one."""
        segmenters = [judge for judge in self.judges.values() if isinstance(judge, Segmentation)]
        return {name: judge.labels(image.to(device())) for judge in segmenters[:1] for name, image in images.items()}

    def _cohorts(self, stacks: Mapping[str, Stack]) -> Iterator[tuple[str, str, CohortJudge, Stack]]:
        """Name of the judge and of the method, the judge, and what it sees: a rival, what no method has touched."""
        for name, judge in of_kind(CohortJudge, self.judges).items():
            yield from ((name, method, judge, stack) for method, stack in stacks.items())
        for name, judge in of_kind(CohortJudge, self.rivals).items():
            yield name, UNTOUCHED, judge, stacks[UNTOUCHED]

    def _concluded(self, name: str, cohort: Cohort) -> dict[str, dict[str, float]]:
        judge = of_kind(CohortJudge, self.judges | self.rivals)[name]
        try:
            return judge.conclude(cohort)
        except DataError as error:  # everything else is scored by now
            print(f"  {name} says nothing of {cohort.domain}: {error}", flush=True)
            return {}

    def _merged(self, scores: Mapping[str, Score]) -> Score:
        """Metric -> value, of the judges that are no rivals."""
        return {key: value for name in scores if name in self.judges for key, value in scores[name].items()}


UNTOUCHED = "none"  # the method whose image is the query


def of_kind(kind: type[Kind], judges: Mapping[str, Judge]) -> dict[str, Kind]:
    return {name: judge for name, judge in judges.items() if isinstance(judge, kind)}


def examined(name: str, judge: ImageJudge, reference: Sequence[ScoredSlices], scores: Sequence[Score]) -> Quality:
    """scores: of the untouched reference scans. Those without an answer to compare with are left out."""
    trivial = [judge.trivial(case.query, case.known) for case in reference]
    pairs = [
        (score[judge.metric], value)
        for score, value in zip(scores, trivial, strict=True)
        if value is not None and judge.metric in score
    ]
    return quality(name, judge.metric, judge.baseline, pairs)


def announce(qualities: Sequence[Quality], part: str) -> None:
    """How good the judges are, before anything that they say."""
    if qualities:
        print(f"judges on untouched {part} scans of the reference scanner:")
        print("\n".join(each.line() for each in qualities), flush=True)
