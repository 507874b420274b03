"""How unsure a classifier of pixels is."""

from __future__ import annotations

from torch import Tensor


def prediction_entropy(logits: Tensor, image: Tensor) -> Tensor:
    """(B, classes, H, W) of (B, 1, H, W) -> (B,) nats: the mean over the brain (image > 0) of -sum_k p_k log p_k.

    0 without brain. Differentiable in the logits.
    """
    logp = logits.log_softmax(1)
    per_pixel = -(logp.exp() * logp).sum(1).flatten(1)
    brain = (image > 0).flatten(1)
    return (per_pixel * brain).sum(1) / brain.sum(1).clamp(min=1)
