"""Dark spots in white matter, as the lesions of a T1-weighted scan are."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

EDGE = 0.3  # deviations of the noise over which a spot sets in
FEWEST = 100  # voxels of tissue, below which there is no place for any


class Lesions:
    """x <- x (1 - depth spot) in one tissue, spot in 0 .. 1 where smooth noise is highest: what a lesion is on T1. It
    stays a part of its tissue, and a scanner does to it what it does to that.

    probability: that a volume has any. share: largest, of the tissue. depth: how much darker a spot is at most, from
    and to. grain: of the noise, voxels, from and to. All uniform.
    """

    def __init__(
        self, *, probability: float, share: float, depth: tuple[float, float], grain: tuple[float, float]
    ) -> None:
        self.probability, self.share, self.depth, self.grain = probability, share, depth, grain

    def into(self, image: Tensor, tissue: Tensor, generator: Generator) -> Tensor:
        """(S, H, W) image, and bool where the tissue is -> the image with lesions, or itself."""

        def uniform(low: float, high: float) -> float:
            return low + (high - low) * float(torch.rand((), generator=generator))

        happens, share = uniform(0, 1) < self.probability, uniform(0, self.share)
        depth, grain = uniform(*self.depth), uniform(*self.grain)
        coarse = torch.randn([1, 1, *(2 + int(side / grain) for side in image.shape)], generator=generator)
        if not happens or tissue.sum() < FEWEST:
            return image
        noise = F.interpolate(coarse, size=image.shape, mode="trilinear")[0, 0]
        inside = noise[tissue]
        least = inside.kthvalue(max(round((1 - share) * len(inside)), 1)).values
        spot = ((noise - least) / (EDGE * inside.std())).clamp(0, 1)
        return torch.where(tissue, image * (1 - depth * spot), image)
