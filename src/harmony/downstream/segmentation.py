"""The segmentation judge: what a network trained on the reference domain sees in an image."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony.networks import AnySizeUNet


class Segmentation:
    """A trained segmenter, frozen. It sees images, and cannot tell which method made them."""

    def __init__(self, *, segmenter: AnySizeUNet) -> None:
        self.segmenter = segmenter.eval().requires_grad_(False)

    @torch.no_grad()
    def labels(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, H, W), the likeliest class of each pixel."""
        return self.segmenter(image).argmax(1)

    @torch.no_grad()
    def entropy(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B,) nats: the mean over the brain (image > 0) of -sum_k p_k log p_k; 0 without brain."""
        logp = self.segmenter(image).log_softmax(1)
        per_pixel = -(logp.exp() * logp).sum(1).flatten(1)
        brain = (image > 0).flatten(1)
        return (per_pixel * brain).sum(1) / brain.sum(1).clamp(min=1)
