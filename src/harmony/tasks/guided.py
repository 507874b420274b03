"""Guided training of a flow (Beizaee et al., arXiv 2407.15717): altered slices are shown as what is unlikely."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony.core.batch import draws
from harmony.data import CurveCorruption, candidate_negatives, forced_negatives


class Guidance:
    """loss = mean clip(label * bpd, min=-floor): label +1 for a clean slice, -1 for an altered one.

    The negative term has a gradient only while an altered slice costs less than `floor` bits per dimension.
    corruption: alters a slice. probability: of a training slice to be a candidate. threshold: the visible difference,
    in grey levels, that keeps it (see `visibly_differs`). every: each so-manieth validation slice is altered.
    """

    def __init__(
        self, *, corruption: CurveCorruption, probability: float, threshold: float, every: int, floor: float
    ) -> None:
        self.corruption, self.probability, self.threshold = corruption, probability, threshold
        self.every, self.floor = every, floor

    def loss(self, bpd: Tensor, label: Tensor) -> Tensor:
        """bpd, label: (B,). A scalar."""
        return (label * bpd).clamp(min=-self.floor).mean()

    def training(self, image: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images and labels; which slices are altered, and how, comes from the generator."""
        made = candidate_negatives(
            image,
            mask,
            self.corruption,
            probability=self.probability,
            threshold=self.threshold,
            generator=generator,
        )
        return made.image, made.label

    def validation(self, image: Tensor, mask: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Images and labels of validation batch `index`, the same every time."""
        forced = torch.arange(len(image)) % self.every == self.every - 1
        made = forced_negatives(image, mask, self.corruption, forced=forced, generator=draws(0, index))
        return made.image, made.label


def of_clean(bpd: Tensor, label: Tensor) -> Tensor:
    """Mean bpd of the clean slices. Weighed, not picked: to pick them, the host would wait for the device's count."""
    clean = label > 0
    return (bpd * clean).sum() / clean.sum()
