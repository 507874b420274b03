"""Every layer and flow that must obey the laws: add a name here and it inherits the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from nflows.transforms import CompositeTransform, Transform
from torch import Tensor, nn

from harmony.flows import ImageDensity, harmonizing_flow, spline_flow
from harmony.flows.coupling import MaskedAffineCoupling, MaskKind
from harmony.flows.layers import ActNorm, InvertibleConv1x1, Multiscale, SplineCoupling, Squeeze
from harmony.flows.logit import Logit
from harmony.flows.splines import SplineSettings
from harmony.networks.coupling_unet import CouplingUNet

SPLINE = SplineSettings(bins=4, tail_bound=3.0, min_bin_width=1e-3, min_bin_height=1e-3, min_derivative=1e-3)
SPLINE_FLOW = {
    "steps": 2,
    "hidden_channels": 8,
    "blocks": 1,
    "bins": 4,
    "tail_bound": 3.0,
    "min_bin_width": 1e-3,
    "min_bin_height": 1e-3,
    "min_derivative": 1e-3,
    "bits": 8,
    "seed": 0,
}
HARMONIZING_FLOW = {
    "levels": 2,
    "couplings": 2,
    "widths": (4, 6, 8),
    "logit_margin": 1e-5,
    "dequantization": "variational",
    "bits": 8,
    "seed": 0,
}


@dataclass(frozen=True)
class FlowCase:
    """build: called with the settings, or with others in their place. height, width: of the images of the laws.

    paper: the settings of the paper's size, and its parameters; None where another case has them.
    float32: how close its round trip comes.
    """

    build: Callable[..., ImageDensity]
    settings: dict
    height: int
    width: int
    paper: tuple[dict, int] | None = None
    float32: float = 2e-5

    def new(self, **changes: object) -> ImageDensity:
        return self.build(**(self.settings | changes))


PAPER_SPLINES = {"levels": 4, "steps": 7, "hidden_channels": 96, "blocks": 3, "bins": 8, "bits": 12}
PAPER_HARMONIZING = {"couplings": 4, "widths": (16, 32, 48, 64)}
FLOWS = {
    "splines, 1 level": FlowCase(spline_flow, SPLINE_FLOW | {"levels": 1}, 2, 2, (PAPER_SPLINES, 14_486_534)),
    "splines, 2 levels, wide": FlowCase(spline_flow, SPLINE_FLOW | {"levels": 2}, 4, 8),
    "splines, 3 levels": FlowCase(spline_flow, SPLINE_FLOW | {"levels": 3}, 8, 8, float32=2e-3),
    "harmonizing": FlowCase(harmonizing_flow, HARMONIZING_FLOW, 4, 8, (PAPER_HARMONIZING, 4_023_176)),
    "harmonizing, uniform": FlowCase(
        harmonizing_flow, HARMONIZING_FLOW | {"dequantization": "uniform"}, 4, 4, (PAPER_HARMONIZING, 3_022_332)
    ),
    "harmonizing, no levels": FlowCase(harmonizing_flow, HARMONIZING_FLOW | {"levels": 0}, 2, 3),
    "harmonizing, recomputed": FlowCase(harmonizing_flow, HARMONIZING_FLOW | {"recompute": True}, 4, 4),
}


def coupling(channels: int) -> SplineCoupling:
    return SplineCoupling(channels, hidden_channels=6, blocks=1, spline=SPLINE, conditioner_dtype=None)


def affine(kind: MaskKind, channels: int, parity: int, *, context: int = 0) -> MaskedAffineCoupling:
    net = CouplingUNet(in_channels=channels + context, out_channels=2 * channels, widths=(4, 6, 8, 8))
    return MaskedAffineCoupling(net, channels=channels, mask=kind, parity=parity, dtype=None, recompute=False)


def step(channels: int) -> CompositeTransform:
    return CompositeTransform([ActNorm(channels), InvertibleConv1x1(channels), coupling(channels)])


# name -> (build, shape of one input)
LAYERS = {
    "squeeze": (Squeeze, (2, 4, 2)),
    "actnorm": (lambda: ActNorm(3), (3, 2, 3)),
    "conv": (lambda: InvertibleConv1x1(4), (4, 2, 3)),
    "coupling": (lambda: coupling(4), (4, 2, 3)),
    "coupling of odd channels": (lambda: coupling(3), (3, 3, 2)),
    "multiscale": (lambda: Multiscale([step(4), step(8)]), (1, 4, 8)),
    "checkerboard": (lambda: affine("checkerboard", 1, 0), (1, 3, 2)),
    "checkerboard of the other parity": (lambda: affine("checkerboard", 1, 1), (1, 3, 2)),
    "checkerboard of three channels": (lambda: affine("checkerboard", 3, 0), (3, 3, 2)),
    "channels": (lambda: affine("channel", 4, 0), (4, 3, 2)),
    "channels of the other parity": (lambda: affine("channel", 4, 1), (4, 3, 2)),
    "logit": (lambda: Logit(margin=1e-5), (1, 3, 4)),
    "logit of a wide margin": (lambda: Logit(margin=0.2), (1, 3, 4)),
}


def trained(module: nn.Module, seed: int) -> nn.Module:
    """In float64 and evaluation, with every parameter and running statistic moved, as training would move them."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    for parameter in module.parameters():
        spread = 0.2 if parameter.dim() == 1 else 0.7 * parameter[0].numel() ** -0.5
        parameter.data += spread * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean += 0.3 * torch.randn(child.running_mean.shape, generator=generator)
            child.running_var *= 0.5 + torch.rand(child.running_var.shape, generator=generator)
    return module


def layer(name: str, seed: int = 0) -> tuple[Transform, Tensor]:
    """A layer as if trained, and 2 inputs that reach beyond the splines' tails and the logit's ends."""
    torch.manual_seed(seed)
    build, shape = LAYERS[name]
    return trained(build(), seed), 2 * torch.randn(2, *shape, dtype=torch.float64)


def flow(name: str, seed: int = 0, **changes: object) -> tuple[ImageDensity, Tensor]:
    """A flow as if trained, and 2 images."""
    torch.manual_seed(seed)
    case = FLOWS[name]
    return trained(case.new(**changes), seed), torch.rand(2, 1, case.height, case.width, dtype=torch.float64)
