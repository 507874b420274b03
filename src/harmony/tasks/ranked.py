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
    """loss = mean bpd(x) + weight * mean relu(1 - (bpd(a) - bpd(x)) / m(d)),  m(d) = slope * d ** power.

    a is x altered, d = mean |a - x| inside the brain in grey levels. A pair has a gradient until the flow prefers the
    truth by its margin, at any level of bits; it is the share of the margin that counts, so that the truth's nearest
    neighbours, whose bits differ least, pull hardest. With a power below 1 the margin itself is steepest there, where
    a harmonizer ends. Distances below `least` count as that: so little is lost in rounding and noise.

        a = x + u^2 (T(x) - x),  u ~ U(0, 1)        T a corruption: mostly little of it

    or, in `walk.share` of the steps, what an adaptation makes of that.

    weight: bits per dimension that a pair costs which the flow cannot tell apart. share: of a batch that has a pair.
    corruption: draws T, for each slice its own. every: each so-manieth validation slice is altered.
    """

    def __init__(
        self,
        *,
        corruption: Corruption,
        walk: AdaptationWalk | None,
        share: float,
        weight: float,
        slope: float,
        power: float,
        least: float,
        every: int,
    ) -> None:
        self.corruption, self.walk, self.share = corruption, walk, share
        self.weight, self.slope, self.power, self.least, self.every = weight, slope, power, least, every

    def step(self, density: ImageDensity, image: Tensor, mask: Tensor, draw: torch.Generator) -> Guided:
        count = max(1, round(self.share * len(image)))
        truth, inside = image[:count], mask[:count]
        altered = self.altered(truth, inside, draw)
        if self.walk is not None and float(torch.rand((), generator=draw)) < self.walk.share:
            altered = self.walk.outputs(density, altered, inside, draw)
        # One batch: the norms of the flow's conditioner see truth and altered slices alike. One noise for both of a
        # pair: else, where little was altered, its noise is most of what their bits differ by.
        noise_of = torch.cat((torch.arange(len(image)), torch.arange(count))).to(image.device, non_blocking=True)
        clean, worse = density.bits_per_dim(torch.cat((image, altered)), draw, noise_of).split((len(image), count))
        hinge = self.hinge(clean[:count], worse, grey_distance(altered, truth, inside))
        acts = (hinge.detach() > 0).float().mean()
        return Guided(clean.mean() + self.weight * hinge.mean(), clean.mean().detach(), acts)

    def hinge(self, truth: Tensor, altered: Tensor, distance: Tensor) -> Tensor:
        """relu(1 - (altered - truth) / m(d)) of the bits per dimension of pairs; (B,) each."""
        margin = self.slope * distance.clamp(min=self.least) ** self.power
        return (1 - (altered - truth) / margin).clamp(min=0)

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
