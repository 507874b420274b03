"""Ranked guidance of a flow (ours): of two images of one anatomy the truth is the likelier, by a graded margin."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony.core.batch import draws
from harmony.data import GREY_LEVELS, Corruption, Labelled, alter, per_image
from harmony.flows import ImageDensity
from harmony.tasks.guided import FlowGuidance, Guided
from harmony.tasks.walk import AdaptationWalk


class RankedGuidance(FlowGuidance):
    """loss = mean bpd(x) + mean relu(m(d) + bpd(x) - bpd(a)),  m(d) = slope * d ** power.

    a is x altered, d = mean |a - x| inside the brain in grey levels. A pair has a gradient until the flow prefers the
    truth by its margin, at any level of bits. With a power below 1 the margin is steepest near the truth, where a
    harmonizer ends.

        a = x + u^2 (T(x) - x),  u ~ U(0, 1)        T a corruption: mostly little of it

    or, in `walk.share` of the steps, what an adaptation makes of that.

    share: of a batch that has a pair. corruption: draws T, for each slice its own. every: each so-manieth validation
    slice is altered.
    """

    def __init__(
        self,
        *,
        corruption: Corruption,
        walk: AdaptationWalk | None,
        share: float,
        slope: float,
        power: float,
        every: int,
    ) -> None:
        self.corruption, self.walk, self.share = corruption, walk, share
        self.slope, self.power, self.every = slope, power, every

    def step(self, density: ImageDensity, image: Tensor, mask: Tensor, draw: torch.Generator) -> Guided:
        count = max(1, round(self.share * len(image)))
        truth, inside = image[:count], mask[:count]
        altered = self.altered(truth, inside, draw)
        if self.walk is not None and float(torch.rand((), generator=draw)) < self.walk.share:
            altered = self.walk.outputs(density, altered, inside, draw)
        # One batch: the norms of the flow's conditioner see truth and altered slices alike.
        clean, worse = density.bits_per_dim(torch.cat((image, altered)), draw).split((len(image), count))
        hinge = self.hinge(clean[:count], worse, grey_distance(altered, truth, inside))
        return Guided(clean.mean() + hinge.mean(), clean.mean().detach(), (hinge.detach() > 0).float().mean())

    def hinge(self, truth: Tensor, altered: Tensor, distance: Tensor) -> Tensor:
        """relu(m(d) + truth - altered), bits per dimension of pairs; (B,) each."""
        return (self.slope * distance**self.power + truth - altered).clamp(min=0)

    def altered(self, image: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """x + u^2 (T(x) - x) of every slice, with a T and a u of its own."""
        whole = alter(image, mask, self.corruption, generator)
        amount = torch.rand(len(image), generator=generator).square().to(image.device, non_blocking=True)
        return torch.lerp(image, whole, per_image(amount))

    def validation(self, image: Tensor, mask: Tensor, index: int) -> Labelled:
        label = torch.ones(len(image))
        label[self.every - 1 :: self.every] = -1
        label = label.to(image)
        altered = self.altered(image, mask, draws(0, index))
        return Labelled(torch.where(per_image(label < 0), altered, image), label)


def grey_distance(altered: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """(B,) mean |altered - image| inside the brain, grey levels of 255; 0 for a slice without brain."""
    inside = mask.flatten(1)
    d = (GREY_LEVELS * (altered - image)).abs().flatten(1) * inside
    return d.sum(1) / inside.sum(1).clamp(min=1)
