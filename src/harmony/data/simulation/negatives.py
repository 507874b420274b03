"""Altered slices for the guided training of a flow (Beizaee et al., arXiv 2407.15717): what it shall find unlikely."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from harmony.data.simulation.corruption import GREY_LEVELS, Corruption, CurveCorruption, per_image


class Labelled(NamedTuple):
    """image: (B, 1, H, W). label: (B,), +1 for a clean slice, -1 for an altered one."""

    image: Tensor
    label: Tensor


def candidate_negatives(
    image: Tensor,
    mask: Tensor,
    corruption: CurveCorruption,
    *,
    probability: float,
    threshold: float,
    generator: Generator,
) -> Labelled:
    """Each slice is altered with `probability`, and stays altered where the brain shows it (`visibly_differs`)."""
    candidate = torch.rand(len(image), generator=generator) < probability
    altered = alter(image, mask, corruption, generator)
    return _label(image, altered, candidate.to(image.device) & visibly_differs(altered, image, mask, threshold))


def forced_negatives(
    image: Tensor, mask: Tensor, corruption: CurveCorruption, *, forced: Tensor, generator: Generator
) -> Labelled:
    """Exactly the slices where `forced` (B,) is True are altered, however little: for a deterministic validation."""
    return _label(image, alter(image, mask, corruption, generator), forced.to(image.device))


def alter(image: Tensor, mask: Tensor, corruption: Corruption[Any], generator: Generator) -> Tensor:
    """Every slice, with parameters of its own."""
    slices = torch.arange(len(image))
    return corruption.replay(image, mask, corruption.draw(slices.float(), slices, generator))


def visibly_differs(altered: Tensor, image: Tensor, mask: Tensor, threshold: float) -> Tensor:
    """(B,) bool: mean |d| + 2 std(d) > threshold inside the brain, d the difference in grey levels, in float.

    False for a slice without brain.
    """
    inside = mask.flatten(1)
    count = inside.sum(1).clamp(min=1)
    d = (GREY_LEVELS * (altered - image)).flatten(1) * inside
    mean = d.sum(1) / count
    variance = (d - mean[:, None]).square().mul(inside).sum(1) / count
    return d.abs().sum(1) / count + 2 * variance.sqrt() > threshold


def _label(image: Tensor, altered: Tensor, negative: Tensor) -> Labelled:
    return Labelled(torch.where(per_image(negative), altered, image), 1 - 2 * negative.to(image.dtype))
