"""The residual conv net that tells a coupling what to do, made fast: channels last, folded norms, optional bfloat16.

Architecture, initialisation and parameter names are those of nflows 0.14 `ConvResidualNet` with BatchNorm, so weights
move between the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conditioner(nn.Module):
    """1x1 conv -> `blocks` pre-activation residual blocks -> 1x1 conv.

    (B, in_channels, H, W) -> (B, out_channels, H, W), in channels-last memory.

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
        self.to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor, output_scale: Tensor | None = None) -> Tensor:
        """output_scale: (out_channels,), multiplied into the last layer rather than into its large output."""
        dtype = inputs.dtype if self.dtype is None else self.dtype
        x = inputs.to(dtype, memory_format=torch.channels_last)
        x = _convolve(x, self.initial_layer.weight, self.initial_layer.bias)
        for block in self.blocks:
            x = block(x)
        weight, bias = self.final_layer.weight, self.final_layer.bias
        if output_scale is not None:
            weight, bias = weight * output_scale.view(-1, 1, 1, 1), bias * output_scale
        return _convolve(x, weight, bias).to(inputs.dtype)


class ResidualBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), 3x3 convolutions; starts near the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batch_norm_layers = nn.ModuleList(nn.BatchNorm2d(channels, eps=1e-3) for _ in range(2))
        self.conv_layers = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        nn.init.uniform_(self.conv_layers[1].weight, -1e-3, 1e-3)
        nn.init.uniform_(self.conv_layers[1].bias, -1e-3, 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        norm, conv = self.batch_norm_layers, self.conv_layers
        h = F.relu(norm[0](x), inplace=True)
        if self.training:
            h = norm[1](_convolve(h, conv[0].weight, conv[0].bias))
        else:
            h = _convolve(h, *_folded(conv[0], norm[1]))
        h = _convolve(F.relu(h, inplace=True), conv[1].weight, conv[1].bias)
        return x + h


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight.to(x.dtype), bias.to(x.dtype), padding=weight.shape[-1] // 2)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution equal to `conv` followed by `norm` in evaluation.

    norm(Wx + b) = g (Wx + b - m) / sqrt(v + eps) + c. Folded afresh at every call: it costs a thousandth of the
    convolution, and nothing can go stale.
    """
    gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return conv.weight * gain.view(-1, 1, 1, 1), (conv.bias - norm.running_mean) * gain + norm.bias
