"""Normalized cross-correlation of two images, one value per image."""

from __future__ import annotations

from torch import Tensor

_TINY = 1e-12  # keeps the correlation of an all-zero slice finite (it is then 0)


def ncc(x: Tensor, y: Tensor, *, centered: bool) -> Tensor:
    """Normalized cross-correlation over all pixels of each image.

        NCC(x, y) = <x, y> / (|x| |y|)          x, y replaced by x - mean(x), y - mean(y) where `centered`

    x, y: (B, 1, H, W). Returns (B,) in [-1, 1]; 0 where an image is all zero (or flat, when centred).
    The uncentred form is the cosine between the images, which BlindHarmony's program uses; the centred
    one is the text-book definition, blind to a gain and an offset.
    """
    x, y = x.flatten(1), y.flatten(1)
    if centered:
        x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    return (x * y).sum(1) / (x.square().sum(1) * y.square().sum(1) + _TINY).sqrt()
