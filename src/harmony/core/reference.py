"""What a method may know of the reference domain without holding any of its images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from harmony.core.errors import CheckpointError
from harmony.core.files import atomic_path
from harmony.core.intensity_curve import IntensityCurve
from harmony.core.stack import Stack
from harmony.core.volume import Volume

VERSION = 3  # raise it when the same volumes give other statistics


@dataclass(frozen=True)
class Reference:
    """Statistics of the reference training volumes; saved with the flow, so that harmonizing needs no training data.

    mean_slices: (P, 1, H, W), the mean training slice at P places of the brain box, first to last. A pixel's mean runs
        over the subjects whose brain covers it (0 where none does): heads differ in size, and counting the background
        of the smaller ones would darken the rim of every slice.
    intensities: (P, Q), the quantiles 0..1 of the intensities inside the brain, pooled over subjects, at each place.
    brain: (P,), how many brain pixels a slice has there, mean over subjects.
    """

    mean_slices: Tensor
    intensities: Tensor
    brain: Tensor

    @classmethod
    def of(cls, volumes: Iterable[Volume], *, positions: int, quantiles: int) -> Reference:
        """Collect from volumes that share one H x W. A volume adds its slice nearest to each of the P places."""
        total, covered, count = torch.zeros(()), torch.zeros(()), 0
        pooled: list[list[Tensor]] = [[] for _ in range(positions)]
        for volume in volumes:
            nearest = (torch.linspace(0, 1, positions) * (len(volume.image) - 1)).round().long()
            image, mask = volume.image[nearest], volume.mask[nearest]
            total, covered, count = total + (image * mask).double(), covered + mask.double(), count + 1
            for values, slice_, inside in zip(pooled, image, mask, strict=True):
                values.append(slice_[inside])
        at = torch.linspace(0, 1, quantiles)
        intensities = torch.stack([_quantiles(torch.cat(values), at) for values in pooled])
        brain = covered.flatten(1).sum(1) / count
        return cls((total / covered.clamp(min=1)).float()[:, None], intensities, brain.float())

    def start(self, position: Tensor, size: torch.Size | None = None) -> Tensor:
        """The mean slice at each position in [0, 1], linear between neighbours: (B,) -> (B, 1, H, W).

        size: (H, W) of slices that are larger than the reference's (a brain that did not fit); 0 around it.
        """
        place = position.clamp(0, 1) * (len(self.mean_slices) - 1)
        below = place.floor().long().clamp(max=len(self.mean_slices) - 2)
        share = (place - below)[:, None, None, None]
        mean = self.mean_slices.to(position.device)
        slices = torch.lerp(mean[below], mean[below + 1], share)
        if size is None or size == slices.shape[2:]:
            return slices
        rows, columns = size[0] - slices.shape[2], size[1] - slices.shape[3]
        return functional.pad(slices, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))

    def pooled(self, position: Tensor) -> Tensor:
        """(Q,) ascending: quantiles of the reference intensities over slices at the positions (S,) of a stack.

        A stack of the middle slices is compared with the middle of the reference brains, not with the whole of them:
        other slices hold other shares of the tissues. Each place counts by its brain pixels.
        """
        place = (position.cpu().clamp(0, 1) * (len(self.intensities) - 1)).round().long()
        quantiles = self.intensities.shape[1]
        values, order = self.intensities[place].flatten().sort()
        reached = self.brain[place].repeat_interleave(quantiles)[order].double().cumsum(0)
        wanted = (torch.arange(quantiles) + 0.5) / quantiles * reached[-1]
        return values[torch.searchsorted(reached, wanted).clamp(max=len(values) - 1)]

    def match(self, stack: Stack) -> Tensor:
        """F_ref^-1(F_query(x)) inside the brain, over all slices of the stack and the same part of reference brains.

        A strictly monotone intensity change of the query leaves the result unchanged, whatever the change was.
        """
        return curved(stack, self.curve(stack))

    def curve(self, stack: Stack) -> IntensityCurve | None:
        """The quantile map of `match`; None of a stack without brain. An intensity goes to where the share of the brain
        that is as dark, or darker, is reached in the reference (Gonzalez and Woods, histogram specification)."""
        inside = stack.image[stack.mask].cpu().numpy()
        if not inside.size:
            return None
        levels, counts = np.unique(inside, return_counts=True)
        wanted, often = np.unique(self.pooled(stack.position).numpy(), return_counts=True)
        share, reached = (count.cumsum() / count.sum() for count in (counts, often))
        return IntensityCurve(levels, np.interp(share, reached, wanted).clip(0, 1))

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary:
            save_file({field.name: getattr(self, field.name).contiguous() for field in fields(self)}, temporary)

    @classmethod
    def load(cls, path: Path) -> Reference:
        try:
            tensors = load_file(path)
            return cls(**{field.name: tensors[field.name] for field in fields(cls)})
        except (OSError, KeyError, SafetensorError) as error:
            raise CheckpointError(f"{path}: not the reference statistics of a trained model ({error})") from error


def curved(stack: Stack, curve: IntensityCurve | None) -> Tensor:
    """(S, 1, H, W) the stack with a curve inside the brain, 0 outside."""
    image = torch.zeros_like(stack.image)
    if curve is not None:
        values = curve(stack.image[stack.mask].cpu().double().numpy())
        image[stack.mask] = torch.as_tensor(values, dtype=image.dtype, device=image.device)
    return image


def _quantiles(values: Tensor, at: Tensor) -> Tensor:
    """Linear quantiles; zeros of nothing. (torch.quantile refuses more than 2^24 values.)"""
    if len(values) == 0:
        return torch.zeros_like(at)
    ordered = values.sort().values
    place = at * (len(ordered) - 1)
    below = place.long().clamp(max=max(len(ordered) - 2, 0))
    above = (below + 1).clamp(max=len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], (place - below).to(ordered.dtype))
