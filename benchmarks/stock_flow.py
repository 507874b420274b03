"""The same flow built from stock nflows parts: what `harmony.flows` is checked and timed against."""

from __future__ import annotations

from math import prod

import torch
from nflows import transforms
from nflows.nn.nets import ConvResidualNet
from nflows.utils import create_mid_split_binary_mask
from torch import Tensor, nn

from harmony.flows import ImageDensity
from harmony.flows.layers import ActNorm, InvertibleConv1x1, SplineCoupling

STOCK_LAYERS = (
    transforms.ActNorm,
    transforms.OneByOneConvolution,
    transforms.PiecewiseRationalQuadraticCouplingTransform,
)


class StockMultiscale(transforms.Transform):
    """nflows' multi-scale composition, whose flat latent is folded back into (B, 1, H, W)."""

    def __init__(self, height: int, width: int, **settings: float) -> None:
        super().__init__()
        levels = int(settings["levels"])
        self.inner = transforms.MultiscaleCompositeTransform(levels)
        self.shapes: list[tuple[int, int, int]] = []
        for k in range(1, levels + 1):
            shape = (2 ** (k + 1), height >> k, width >> k)
            self.inner.add_transform(_level(shape[0], **settings), shape)
            self.shapes.append(shape if k == levels else (shape[0] // 2, *shape[1:]))
        self.unsqueeze = transforms.InverseTransform(transforms.SqueezeTransform())

    def forward(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        flat, logabsdet = self.inner(inputs)
        parts = [part.reshape(-1, *s) for part, s in zip(flat.split(self._sizes(), 1), self.shapes, strict=True)]
        z, _ = self.unsqueeze(parts.pop())
        while parts:
            z, _ = self.unsqueeze(torch.cat([parts.pop(), z], 1))
        return z, logabsdet

    def inverse(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        parts, rest = [], inputs
        for shape in self.shapes[:-1]:
            squeezed, _ = self.unsqueeze.inverse(rest)
            parts.append(squeezed[:, : shape[0]].flatten(1))
            rest = squeezed[:, shape[0] :]
        parts.append(self.unsqueeze.inverse(rest)[0].flatten(1))
        return self.inner.inverse(torch.cat(parts, 1))

    def _sizes(self) -> list[int]:
        return [prod(shape) for shape in self.shapes]


def stock_flow(flow: ImageDensity, height: int, width: int, **settings: float) -> ImageDensity:
    """A stock build for one image size, with the weights and the mode of `flow` (a `spline_flow(**settings)`)."""
    stock = ImageDensity(
        StockMultiscale(height, width, **settings), levels=flow.levels, bits=flow.bits, seed=flow.seed
    ).to(next(flow.parameters()))
    ours = _layers(flow, (ActNorm, InvertibleConv1x1, SplineCoupling))
    theirs = _layers(stock, STOCK_LAYERS)
    for source, target in zip(ours, theirs, strict=True):
        missing, unexpected = target.load_state_dict(source.state_dict(), strict=False)
        if unexpected or set(missing) - {"identity_features", "transform_features"}:
            raise RuntimeError(f"the builds differ: {missing} {unexpected}")
    return stock.train(flow.training)


def _level(channels: int, **settings: float) -> transforms.CompositeTransform:
    def net(inputs: int, outputs: int) -> ConvResidualNet:
        return ConvResidualNet(
            inputs,
            outputs,
            hidden_channels=settings["hidden_channels"],
            num_blocks=settings["blocks"],
            use_batch_norm=True,
        )

    layers: list[transforms.Transform] = [transforms.SqueezeTransform()]
    for _ in range(int(settings["steps"])):
        coupling = transforms.PiecewiseRationalQuadraticCouplingTransform(
            create_mid_split_binary_mask(channels),
            net,
            num_bins=settings["bins"],
            tails="linear",
            tail_bound=settings["tail_bound"],
            min_bin_width=settings["min_bin_width"],
            min_bin_height=settings["min_bin_height"],
            min_derivative=settings["min_derivative"],
        )
        layers += [transforms.ActNorm(channels), transforms.OneByOneConvolution(channels), coupling]
    return transforms.CompositeTransform([*layers, transforms.OneByOneConvolution(channels)])


def _layers(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[nn.Module]:
    return [child for child in module.modules() if isinstance(child, kinds)]
