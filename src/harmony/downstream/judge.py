"""What a judge is told, and its verb."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harmony.core import Stack


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


class Judge(ABC):
    """A question asked of the slices of one volume. It sees an image, and cannot tell which method made it.

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


class AdaptiveJudge(Judge):
    """A judge that may look at unlabelled query images before it is asked."""

    @abstractmethod
    def adapt(self, stacks: list[Stack]) -> None: ...

    @abstractmethod
    def reset(self) -> None:
        """Back to the state before any adaptation."""
