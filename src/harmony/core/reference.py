"""What a method may know of the reference domain without holding any of its images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from harmony.core.errors import CheckpointError
from harmony.core.files import atomic_path
from harmony.core.volume import Volume

VERSION = 2  # raise it when the same volumes give other statistics


@dataclass(frozen=True)
class Reference:
    """Statistics of the reference training volumes; saved with the flow, so that harmonizing needs no training data.

    mean_slices: (P, 1, H, W), the mean training slice at P places of the brain box, first to last. A pixel's mean runs
        over the subjects whose brain covers it (0 where none does): heads differ in size, and counting the background
        of the smaller ones would darken the rim of every slice.
    intensities: (Q,) ascending, the pooled intensities inside the brain at Q evenly spaced quantiles 0..1.
    """

    mean_slices: Tensor
    intensities: Tensor

    @classmethod
    def of(cls, volumes: Iterable[Volume], *, positions: int, quantiles: int) -> Reference:
        """Collect from volumes that share one H x W. A volume adds its slice nearest to each of the P places."""
        total, covered, pooled = torch.zeros(()), torch.zeros(()), []
        at = torch.linspace(0, 1, quantiles)
        for volume in volumes:
            nearest = (torch.linspace(0, 1, positions) * (len(volume.image) - 1)).round().long()
            total = total + (volume.image * volume.mask)[nearest].double()
            covered = covered + volume.mask[nearest].double()
            pooled.append(_quantiles(volume.image[volume.mask], at))
        return cls((total / covered.clamp(min=1)).float()[:, None], _quantiles(torch.cat(pooled), at))

    def start(self, position: Tensor) -> Tensor:
        """The mean slice at each position in [0, 1], linear between neighbours: (B,) -> (B, 1, H, W)."""
        place = position.clamp(0, 1) * (len(self.mean_slices) - 1)
        below = place.floor().long().clamp(max=len(self.mean_slices) - 2)
        share = (place - below)[:, None, None, None]
        mean = self.mean_slices.to(position.device)
        return torch.lerp(mean[below], mean[below + 1], share)

    def save(self, path: Path) -> None:
        with atomic_path(path) as temporary:
            save_file({"mean_slices": self.mean_slices.contiguous(), "intensities": self.intensities}, temporary)

    @classmethod
    def load(cls, path: Path) -> Reference:
        try:
            tensors = load_file(path)
            return cls(tensors["mean_slices"], tensors["intensities"])
        except (OSError, KeyError, SafetensorError) as error:
            raise CheckpointError(f"{path}: not the reference statistics of a trained model ({error})") from error


def _quantiles(values: Tensor, at: Tensor) -> Tensor:
    ordered = values.sort().values  # torch.quantile refuses more than 2**24 values
    place = at * (len(ordered) - 1)
    below = place.long().clamp(max=max(len(ordered) - 2, 0))
    above = (below + 1).clamp(max=len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], (place - below).to(ordered.dtype))
