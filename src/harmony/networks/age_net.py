"""Brain age from the slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class AgeNet(nn.Module):
    """Slices (N, 1, H, W) of V volumes -> one age in years per volume, (V,). Any size, any number of slices.

        features(slice) = mean over pixels of the last stage;   stage: 3x3 conv, stride 2 -> BatchNorm -> ReLU
        age(volume) = age_mean + age_deviation * (w . mean over its slices of features + b)

    Args:
        widths: of the stages.
        age_mean, age_deviation: of the training subjects, in years; kept in the state dict with the weights.
    """

    age_mean: Tensor
    age_deviation: Tensor

    def __init__(self, *, widths: Sequence[int], age_mean: float, age_deviation: float) -> None:
        super().__init__()
        self.stages = nn.Sequential(*(_stage(fine, coarse) for fine, coarse in pairwise((1, *widths))))
        self.head = nn.Linear(widths[-1], 1)
        self.register_buffer("age_mean", torch.tensor(age_mean))
        self.register_buffer("age_deviation", torch.tensor(age_deviation))

    def forward(self, image: Tensor, volume: Tensor) -> Tensor:
        """volume: (N,) the volume of each slice, 0 to V - 1, each at least once, in any order."""
        features = self.stages(image).mean(dim=(-2, -1))
        sums = features.new_zeros(int(volume.max()) + 1, features.shape[1]).index_add(0, volume, features)
        means = sums / volume.bincount()[:, None]
        return self.age_mean + self.age_deviation * self.head(means)[:, 0]


def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)  # the norm has a bias
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
