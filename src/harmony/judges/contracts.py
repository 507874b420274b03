"""What a judge is told, and its verbs.

Two kinds: one is asked of the image of one subject, the other of all subjects of a domain together. Neither can tell
which method made an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from harmony.core import Stack
from harmony.judges.quality import Quality

Kept = Mapping[str, Tensor]  # what a cohort judge keeps of one image


@dataclass(frozen=True)
class Truth:
    """What is known of the volume that a stack was cut from.

    name: of the scan. spacing: mm from slice to slice, row to row, column to column.
    subject: the person; the scan's name where there is one scan only.
    labels: (S, H, W), the true label map of the stack's slices; age: years. None where unknown.
    """

    name: str
    spacing: tuple[float, float, float]
    labels: Tensor | None
    age: float | None
    subject: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", self.subject or self.name)


class ImageJudge(ABC):
    """A question asked of the slices of one volume.

    metric: of those that `score` gives, the one that says how good the judge itself is.
    baseline: in words, the answer without looking whose metric `trivial` gives.
    """

    metric: ClassVar[str]
    baseline: ClassVar[str]

    @abstractmethod
    def score(self, stack: Stack, truth: Truth) -> dict[str, float]:
        """Metric -> value; what is not defined for this volume is left out."""

    @abstractmethod
    def trivial(self, stack: Stack, truth: Truth) -> float | None:
        """`metric` of the baseline; None where it is not defined for this volume."""


class AdaptiveJudge(ImageJudge):
    """A judge that may look at unlabelled query images before it is asked."""

    @abstractmethod
    def adapt(self, stacks: Sequence[Stack]) -> None: ...

    @abstractmethod
    def reset(self) -> None:
        """Back to the state before any adaptation."""


@dataclass(frozen=True)
class Examples:
    """Untouched images of one scanner, which a judge may learn from, and is examined on, before it is asked anything.

    training: of the training subjects, (subject, scan). scored: of the subjects that are scored. Both are made one at a
    time, each time they are gone through.
    """

    training: Iterable[tuple[str, Stack]]
    scored: Iterable[tuple[str, Stack]]


@dataclass(frozen=True)
class Cohort:
    """What a judge kept of the scans of one query domain.

    query: scan -> what `observe` gave of the image that is asked about.
    reference: the same of the scored subjects' untouched reference scans, which may be other people's.
    people: scan -> whose it is; a scan that is not in it is its person's only one, and has the person's name.
    """

    domain: str
    query: Mapping[str, Kept]
    reference: Mapping[str, Kept]
    people: Mapping[str, str] = field(default_factory=dict)

    def person(self, scan: str) -> str:
        return self.people.get(scan, scan)


class CohortJudge(ABC):
    """A question that takes all subjects of a domain. It remembers nothing of them itself: what it keeps of each lies
    on disk until all are there, so that an evaluation that was stopped goes on.

    on_reference: whether it has an answer about the untouched reference scans too, as a domain of their own.
    """

    on_reference: ClassVar[bool] = False

    @abstractmethod
    def observe(self, stack: Stack, truth: Stack | None, measured: Mapping[str, float]) -> dict[str, Tensor]:
        """What it keeps of one image. truth: the same slices on the reference scanner; None where there are none.
        measured: metric -> what the image judges said of the image."""

    @abstractmethod
    def conclude(self, cohort: Cohort) -> dict[str, dict[str, float]]:
        """Metric -> scan -> value, whatever the order of the scans. Raises DataError for a cohort that cannot be
        judged."""

    @abstractmethod
    def qualities(self, name: str) -> list[Quality]:
        """How it does on untouched scans, beside answers without looking; none where it measures nothing itself."""
