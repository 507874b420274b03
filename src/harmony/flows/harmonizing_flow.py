"""The flow of Harmonizing Flows (Beizaee et al., arXiv 2301.11551 and 2407.15717)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from nflows.transforms import CompositeTransform, InverseTransform, Transform

from harmony.flows.coupling import MaskedAffineCoupling, MaskKind
from harmony.flows.density import ImageDensity
from harmony.flows.dequantization import Dequantization
from harmony.flows.dequantization_variational import VariationalDequantization
from harmony.flows.layers import Squeeze
from harmony.flows.logit import Logit
from harmony.networks.coupling_unet import CouplingUNet


def harmonizing_flow(
    *,
    levels: int,
    couplings: int,
    widths: Sequence[int],
    logit_margin: float,
    dequantization: Literal["variational", "uniform"],
    bits: int,
    seed: int,
    recompute: bool = False,
    conditioner_dtype: Literal["float32", "bfloat16"] = "float32",
) -> ImageDensity:
    """A density over images of any size divisible by 2^levels, without splits, 1x1 convolutions or ActNorm.

        logit -> `couplings` checkerboard couplings at 1 channel
        then, `levels` times: squeeze -> `couplings` channel couplings at 4, 16, ... channels
        z: the squeezes undone, so that it has the shape of the image

    The paper's size (2 levels of 4, widths 16-32-48-64): a conditioner has 249,600 + 288 in + 17 out parameters
    (see `CouplingUNet`) and a coupling one more per channel for its scale: 3,022,332 in the flow, 1,000,844 in the
    variational dequantizer (4 couplings that see noise and image), 4,023,176 in all. A new flow is the logit alone.

    Args:
        levels, couplings: depth; the variational dequantizer has `couplings` checkerboard couplings of its own.
        widths: of every conditioner's U-Net, one a resolution.
        logit_margin: keeps the logit of black and white finite.
        dequantization: "variational" learns the noise within a grey level, "uniform" does not.
        bits: grey levels of the dequantization, 2^bits.
        seed: of the fixed dequantization noise.
        recompute: in the backward pass, run each coupling again instead of keeping its activations.
        conditioner_dtype: arithmetic inside the conditioners. "bfloat16" is faster and moves the bits per dimension a
            little; decode(encode(x)) is then only as exact as its rounding. "float32" means the dtype of the weights.
    """
    dtype = {"float32": None, "bfloat16": torch.bfloat16}[conditioner_dtype]

    def stack(channels: int, mask: MaskKind, context: int = 0) -> list[MaskedAffineCoupling]:
        """`couplings` of them with alternating parity."""
        return [
            MaskedAffineCoupling(
                CouplingUNet(in_channels=channels + context, out_channels=2 * channels, widths=widths),
                channels=channels,
                mask=mask,
                parity=k % 2,
                dtype=dtype,
                recompute=recompute,
            )
            for k in range(couplings)
        ]

    layers: list[Transform] = [Logit(margin=logit_margin), *stack(1, "checkerboard")]
    for level in range(1, levels + 1):
        layers += [Squeeze(), *stack(4**level, "channel")]
    layers += [InverseTransform(Squeeze()) for _ in range(levels)]
    noise: Dequantization | None = None
    if dequantization == "variational":
        noise = VariationalDequantization(stack(1, "checkerboard", context=1), margin=logit_margin)
    return ImageDensity(CompositeTransform(layers), levels=levels, bits=bits, seed=seed, dequantization=noise)
