"""The history of generated images that the critics of a CycleGAN are shown (Shrivastava et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageBuffer(nn.Module):
    """Keeps `size` generated images; it is filled first, then each new image is handed out as it is with probability
    1/2, or changes places with a random kept one, which is handed out in its stead.

    A module, so that a checkpoint holds the images.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.images: list[Tensor] = []

    @torch.no_grad()
    def forward(self, new: Tensor, generator: torch.Generator) -> Tensor:
        """new: (B, 1, H, W) -> as many images, new or of the past, without a gradient. Chance is the generator's."""
        return torch.stack([self._exchange(image, generator) for image in new])

    def _exchange(self, image: Tensor, generator: torch.Generator) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image)
            return image
        if torch.rand((), generator=generator) < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=generator))
        former, self.images[place] = self.images[place], image
        return former

    def get_extra_state(self) -> Tensor:
        return torch.stack(self.images) if self.images else torch.empty(0)

    def set_extra_state(self, state: Tensor) -> None:
        self.images = list(state)
