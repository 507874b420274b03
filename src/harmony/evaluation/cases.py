"""What is scored: all slices of one scan's brain, as `harmonize` writes them, with what is known of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harmony.core import Stack, Volume, of_subjects
from harmony.data import QueryScanner, SliceDataModule
from harmony.judges import Truth
from harmony.metrics import white_surroundings


@dataclass(frozen=True)
class Cut:
    """Which of the scored slices are the middle ones that the papers score (`Volume.select`), and how many mm around a
    lesion are its surroundings."""

    count: int | None
    step: int
    lesion_ring: float


@dataclass(frozen=True)
class EvaluationSettings:
    """part: whose subjects are scored. adapt_on: whose query scans a method adapts to. subjects: how many people of a
    part, with all their scans; None for all. include_reference: also the untouched reference scans. figure_subjects:
    drawn, per domain.
    """

    part: str
    adapt_on: str
    subjects: int | None
    include_reference: bool
    figure_subjects: int
    cut: Cut


@dataclass(frozen=True)
class ScoredSlices:
    """The slices of a case, all of the brain. truth: the same on the reference scanner; None where there are none.

    known: what a judge's answers are compared with. lesions, white_matter: (S, H, W) bool, the lesions of the query and
    the white matter around them (`metrics.white_surroundings`, the same for every method); None without lesion mask.
    middle: (S,) bool, at least one, the named subset that the papers score.
    """

    query: Stack
    truth: Stack | None
    known: Truth
    lesions: Tensor | None
    white_matter: Tensor | None
    middle: Tensor

    @property
    def rim(self) -> Tensor:
        """(S,) bool: the slices before the first and after the last of the middle ones."""
        places, inside = torch.arange(len(self.middle)), self.middle.nonzero()
        return (places < inside.min()) | (places > inside.max())

    @property
    def shown(self) -> int:
        """The slice to draw: with most of the lesions; the middle one where there are none."""
        if self.lesions is None or not self.lesions.any():
            return len(self.query) // 2
        return int(self.lesions.flatten(1).sum(1).argmax())


@dataclass(frozen=True)
class Case:
    """One scored scan. scanner: makes the query of it; None where it is the query. truth: on the grid of the scan."""

    scan: Volume
    truth: Volume | None
    scanner: QueryScanner | None = None

    @property
    def name(self) -> str:
        return self.scan.scan.name

    @property
    def subject(self) -> str:
        return self.scan.scan.subject

    def slices(self, cut: Cut) -> ScoredSlices:
        """Labels are the truth's; without one, the query's."""
        query = self.scanner(self.scan) if self.scanner else self.scan
        index = query.select(None, 1)
        stack, spacing = query.stack(index), query.spacing(index)
        known = query if self.truth is None else self.truth
        lesions = white = None
        if query.lesions is not None:
            lesions = query.lesions[index]
            image, brain = stack.image[:, 0], stack.mask[:, 0]
            around = white_surroundings(image, lesions, brain, spacing=spacing, ring_mm=cut.lesion_ring)
            white = torch.from_numpy(around)
        age = known.scan.age if query.scan.age is None else query.scan.age
        labels = None if known.labels is None else known.labels[index]
        return ScoredSlices(
            query=stack,
            truth=None if self.truth is None else self.truth.stack(index),
            known=Truth(self.name, spacing, labels, age, self.subject),
            lesions=lesions,
            white_matter=white,
            middle=torch.isin(index, query.select(cut.count, cut.step)),
        )


@dataclass(frozen=True)
class PartStacks:
    """(subject, all slices) of a part's volumes as a scanner makes them (None: as they are), one volume at a time;
    nothing is read before somebody goes through them."""

    data: SliceDataModule
    part: str
    subjects: int | None
    scanner: QueryScanner | None

    def __iter__(self) -> Iterator[tuple[str, Stack]]:
        for volume in first_people(self.data.volumes(self.part), self.subjects):
            made = self.scanner(volume) if self.scanner else volume
            yield volume.scan.subject, made.stack(made.select(None, 1))


def first_people(volumes: Sequence[Volume], count: int | None) -> list[Volume]:
    """The volumes of the first `count` people, with all their scans; all for None."""
    return of_subjects(volumes, count, lambda volume: volume.scan.subject)
