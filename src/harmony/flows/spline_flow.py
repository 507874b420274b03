"""The multi-scale neural spline flow of BlindHarmony (arXiv 2305.10732), after Durkan et al. (arXiv 1906.04032)."""

from __future__ import annotations

from typing import Literal

import torch
from nflows.transforms import CompositeTransform

from harmony.flows.density import ImageDensity
from harmony.flows.layers import ActNorm, InvertibleConv1x1, Multiscale, SplineCoupling
from harmony.flows.splines import SplineSettings


def spline_flow(
    *,
    levels: int,
    steps: int,
    hidden_channels: int,
    blocks: int,
    bins: int,
    tail_bound: float,
    min_bin_width: float,
    min_bin_height: float,
    min_derivative: float,
    bits: int,
    seed: int,
    conditioner_dtype: Literal["float32", "bfloat16"] = "float32",
) -> ImageDensity:
    """A density over images of any size divisible by 2^levels.

    Level: squeeze, `steps` times (ActNorm -> LU 1x1 convolution -> rational-quadratic spline coupling), one more 1x1
    convolution; half of the channels become latent after each level but the last.

    Args:
        levels, steps: depth.
        hidden_channels, blocks: width and residual blocks of every coupling's conditioner (BatchNorm, no dropout).
        bins, tail_bound, min_bin_width, min_bin_height, min_derivative: the splines, see `SplineSettings`.
        bits: grey levels of the dequantization, 2^bits.
        seed: of the fixed dequantization noise.
        conditioner_dtype: arithmetic inside the conditioners. "bfloat16" is faster and moves the bits per dimension a
            little; decode(encode(x)) is then only as exact as its rounding. "float32" means the dtype of the weights.
    """
    spline = SplineSettings(bins, tail_bound, min_bin_width, min_bin_height, min_derivative)
    dtype = {"float32": None, "bfloat16": torch.bfloat16}[conditioner_dtype]

    def level(channels: int) -> CompositeTransform:
        layers = []
        for _ in range(steps):
            coupling = SplineCoupling(
                channels, hidden_channels=hidden_channels, blocks=blocks, spline=spline, conditioner_dtype=dtype
            )
            layers += [ActNorm(channels), InvertibleConv1x1(channels), coupling]
        return CompositeTransform([*layers, InvertibleConv1x1(channels)])

    # 1 channel squeezed makes 4; half of them, squeezed, make 8; and so on.
    transform = Multiscale(level(2 ** (k + 2)) for k in range(levels))
    return ImageDensity(transform, levels=levels, bits=bits, seed=seed)
