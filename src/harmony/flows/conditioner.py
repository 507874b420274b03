"""The residual conv net that tells a coupling what to do, made fast: channels last, folded norms, optional bfloat16.

Architecture, initialisation and parameter names are those of nflows 0.14 `ConvResidualNet` with BatchNorm, so weights
move between the two.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conditioner(nn.Module):
    """1x1 conv -> `blocks` pre-activation residual blocks -> 1x1 conv.

    (B, in_channels, H, W) -> (out_channels, B, H, W): channels first, the layout in which splines are fast.

    Args:
        dtype: of the arithmetic inside; None for that of the input. Weights, inputs and outputs keep theirs.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, hidden_channels: int, blocks: int, dtype: torch.dtype | None
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.initial_layer = nn.Conv2d(in_channels, hidden_channels, 1)
        self.blocks = nn.ModuleList(ResidualBlock(hidden_channels) for _ in range(blocks))
        self.final_layer = nn.Conv2d(hidden_channels, out_channels, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, inputs: Tensor) -> Tensor:
        dtype = inputs.dtype if self.dtype is None else self.dtype
        x = inputs.to(dtype, memory_format=torch.channels_last)
        x = _convolve(x, *_weights(self.initial_layer))
        for block in self.blocks:
            x = block(x)
        weight, bias = (p.to(dtype) for p in _weights(self.final_layer))
        pixels = x.permute(0, 2, 3, 1)
        # W X^T: one matrix product leaves the output channels first, with no copy.
        outputs = torch.addmm(bias[:, None], weight.flatten(1), pixels.flatten(0, 2).t())
        return outputs.unflatten(1, pixels.shape[:3]).to(inputs.dtype)


class ResidualBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), 3x3 convolutions; starts near the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        nn.init.uniform_(second.weight, -1e-3, 1e-3)
        nn.init.uniform_(cast(Tensor, second.bias), -1e-3, 1e-3)
        self.batch_norm_layers = nn.ModuleList(nn.BatchNorm2d(channels, eps=1e-3) for _ in range(2))
        self.conv_layers = nn.ModuleList([first, second])

    def forward(self, x: Tensor) -> Tensor:
        norm, conv = self.batch_norm_layers, self.conv_layers
        h = F.relu(norm[0](x), inplace=True)
        h = norm[1](_convolve(h, *_weights(conv[0]))) if self.training else _convolve(h, *_folded(conv[0], norm[1]))
        # In place: no backward pass needs the convolution's output, and a fresh sum would cost more than its addition.
        return _convolve(F.relu(h, inplace=True), *_weights(conv[1])).add_(x)


def _weights(layer: nn.Module) -> tuple[Tensor, Tensor]:
    return cast(Tensor, layer.weight), cast(Tensor, layer.bias)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight.to(x.dtype), bias.to(x.dtype), padding=weight.shape[-1] // 2)


def _folded(conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution equal to `conv` followed by the batch norm `norm` in evaluation.

    norm(Wx + b) = g (Wx + b - m) / sqrt(v + eps) + c. Folded afresh at every call: it costs a thousandth of the
    convolution, and nothing can go stale.
    """
    norm = cast(nn.BatchNorm2d, norm)
    weight, bias = _weights(conv)
    gain = norm.weight * torch.rsqrt(cast(Tensor, norm.running_var) + norm.eps)
    return weight * gain.view(-1, 1, 1, 1), (bias - cast(Tensor, norm.running_mean)) * gain + norm.bias
