"""Guided training of a flow: altered slices are shown as what is unlikely (Beizaee et al., arXiv 2407.15717)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from harmony.core.batch import draws
from harmony.data import CurveCorruption, Labelled, candidate_negatives, forced_negatives
from harmony.flows import ImageDensity


class Guided(NamedTuple):
    """A guided step, a scalar each: what it descends; the mean bpd of its clean slices; the share of its altered slices
    whose likelihood has a gradient (0 where it has no altered slice)."""

    loss: Tensor
    clean: Tensor
    acts: Tensor


class FlowGuidance(ABC):
    """Shows a flow altered slices too, and says what it shall make of them."""

    @abstractmethod
    def step(self, density: ImageDensity, image: Tensor, mask: Tensor, draw: torch.Generator) -> Guided:
        """Of clean slices (B, 1, H, W); what is altered, and how, and the noise come from the generator."""

    @abstractmethod
    def validation(self, image: Tensor, mask: Tensor, index: int) -> Labelled:
        """Images and labels (-1: altered) of validation batch `index`, the same every time."""


class Guidance(FlowGuidance):
    """The published guidance: loss = mean clip(label * bpd, min=-floor), label +1 for a clean slice, -1 for an altered.

    The negative term has a gradient only while an altered slice costs less than `floor` bits per dimension.
    corruption: alters a slice. probability: of a training slice to be a candidate. threshold: the visible difference,
    in grey levels, that keeps it (see `visibly_differs`). every: each so-manieth validation slice is altered.
    """

    def __init__(
        self, *, corruption: CurveCorruption, probability: float, threshold: float, every: int, floor: float
    ) -> None:
        self.corruption, self.probability, self.threshold = corruption, probability, threshold
        self.every, self.floor = every, floor

    def step(self, density: ImageDensity, image: Tensor, mask: Tensor, draw: torch.Generator) -> Guided:
        shown, label = self.training(image, mask, draw)
        bpd = density.bits_per_dim(shown, draw)
        return Guided(self.loss(bpd, label), of_clean(bpd, label), self.acts(bpd.detach(), label))

    def loss(self, bpd: Tensor, label: Tensor) -> Tensor:
        """bpd, label: (B,). A scalar."""
        return (label * bpd).clamp(min=-self.floor).mean()

    def acts(self, bpd: Tensor, label: Tensor) -> Tensor:
        """The share of altered slices that cost less than `floor`."""
        altered = label < 0
        return (altered & (bpd <= self.floor)).sum() / altered.sum().clamp(min=1)

    def training(self, image: Tensor, mask: Tensor, generator: torch.Generator) -> Labelled:
        """Images and labels; which slices are altered, and how, comes from the generator."""
        return candidate_negatives(
            image,
            mask,
            self.corruption,
            probability=self.probability,
            threshold=self.threshold,
            generator=generator,
        )

    def validation(self, image: Tensor, mask: Tensor, index: int) -> Labelled:
        forced = torch.arange(len(image)) % self.every == self.every - 1
        return forced_negatives(image, mask, self.corruption, forced=forced, generator=draws(0, index))


def of_clean(bpd: Tensor, label: Tensor) -> Tensor:
    """Mean bpd of the clean slices. Weighed, not picked: to pick them, the host would wait for the device's count."""
    clean = label > 0
    return (bpd * clean).sum() / clean.sum()
