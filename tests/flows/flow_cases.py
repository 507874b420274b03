"""Every layer and flow that must obey the laws: add a name here and it inherits the tests."""

from __future__ import annotations

import torch
from nflows.transforms import CompositeTransform, Transform
from torch import Tensor, nn

from harmony.flows import ImageDensity, spline_flow
from harmony.flows.layers import ActNorm, InvertibleConv1x1, Multiscale, SplineCoupling, Squeeze
from harmony.flows.splines import SplineSettings

SPLINE = SplineSettings(bins=4, tail_bound=3.0, min_bin_width=1e-3, min_bin_height=1e-3, min_derivative=1e-3)
SETTINGS = {
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


def coupling(channels: int) -> SplineCoupling:
    return SplineCoupling(channels, hidden_channels=6, blocks=1, spline=SPLINE, conditioner_dtype=None)


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
}

# name -> (levels, height, width)
FLOWS = {"1 level": (1, 2, 2), "2 levels, wide": (2, 4, 8), "3 levels": (3, 8, 8)}


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
    """A layer as if trained, and 2 inputs that reach beyond the splines' tails."""
    torch.manual_seed(seed)
    build, shape = LAYERS[name]
    return trained(build(), seed), 2 * torch.randn(2, *shape, dtype=torch.float64)


def flow(name: str, seed: int = 0, **changes: object) -> tuple[ImageDensity, Tensor]:
    """A flow as if trained, and 2 images."""
    torch.manual_seed(seed)
    levels, height, width = FLOWS[name]
    density = trained(spline_flow(levels=levels, **{**SETTINGS, **changes}), seed)
    return density, torch.rand(2, 1, height, width, dtype=torch.float64)
