"""Invertible layers for images of any size: (B, C, H, W) -> the same number of values, and log |det| (B,) in nats.

All are nflows `Transform`s, so nflows can compose them, and keep the parameter names of their nflows counterparts, so
weights move between the two. They work in channels-last memory, where the convolutions are fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from nflows.transforms import RandomPermutation, Transform
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.core.group import global_moments
from harmony.flows.conditioner import Conditioner
from harmony.flows.splines import SplineParameters, SplineSettings, spline_forward, spline_inverse


class Squeeze(Transform):
    """2x2 pixels become 4 channels: (B, C, H, W) -> (B, 4C, H/2, W/2), channel order c, row, column; log |det| = 0."""

    def forward(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        b, c, h, w = inputs.shape
        blocks = inputs.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
        return blocks.reshape(b, h // 2, w // 2, 4 * c).permute(0, 3, 1, 2), inputs.new_zeros(b)

    def inverse(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        b, c, h, w = inputs.shape
        blocks = inputs.permute(0, 2, 3, 1).reshape(b, h, w, c // 4, 2, 2).permute(0, 1, 4, 2, 5, 3)
        return blocks.reshape(b, 2 * h, 2 * w, c // 4).permute(0, 3, 1, 2), inputs.new_zeros(b)


class ActNorm(Transform):
    """y = exp(log_scale) x + shift per channel; the first training batch sets both so that y has mean 0, deviation 1.

    Kingma and Dhariwal, Glow, arXiv 1807.03039. The flag that the batch has been seen lives in the state dict. A flat
    channel has no deviation to divide by: it is only centred. The flag is read once and then remembered (and again
    after weights were loaded): to look at it in every step would make the host wait for the device.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("initialized", torch.tensor(False))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self._known = False
        self.register_load_state_dict_post_hook(_forget)

    def forward(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        if self.training and not self._known:
            if not self.initialized:
                self._initialize(inputs)
            self._known = True
        outputs = inputs * self.log_scale.exp().view(1, -1, 1, 1) + self.shift.view(1, -1, 1, 1)
        return outputs, self._logabsdet(inputs)

    def inverse(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        outputs = (inputs - self.shift.view(1, -1, 1, 1)) * (-self.log_scale).exp().view(1, -1, 1, 1)
        return outputs, -self._logabsdet(inputs)

    def _logabsdet(self, inputs: Tensor) -> Tensor:
        return (inputs.shape[2] * inputs.shape[3] * self.log_scale.sum()).expand(len(inputs))

    @torch.no_grad()
    def _initialize(self, inputs: Tensor) -> None:
        values = inputs.transpose(0, 1).flatten(1)
        flat = torch.ones(len(values)).to(values)
        mean, deviation = global_moments(values) if values.shape[1] > 1 else (values.mean(1), flat)
        deviation = torch.where(deviation > 1e-6, deviation, flat)
        self.log_scale.copy_(-deviation.log())
        self.shift.copy_(-mean / deviation)
        self.initialized.fill_(True)


def _forget(norm: nn.Module, _: object) -> None:
    norm._known = False  # type: ignore[assignment]


class InvertibleConv1x1(Transform):
    """y = L U P x + bias at every pixel; P a fixed random permutation, L unit lower, U upper with positive diagonal.

    log |det| = H W sum log diag(U). Starts as the permutation alone. Same numbers as nflows `OneByOneConvolution`, but
    the C x C matrix is multiplied out (or inverted by two triangular solves) once, not applied factor by factor to
    every pixel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        entries = channels * (channels - 1) // 2
        self.bias = nn.Parameter(torch.zeros(channels))
        self.lower_entries = nn.Parameter(torch.zeros(entries))
        self.upper_entries = nn.Parameter(torch.zeros(entries))
        one = math.log(math.expm1(1 - _LEAST_DIAGONAL))  # softplus(one) + _LEAST_DIAGONAL = 1
        self.unconstrained_upper_diag = nn.Parameter(torch.full((channels,), one))
        self.permutation = RandomPermutation(channels, dim=1)
        self.register_buffer("_lower", torch.tril_indices(channels, channels, -1), persistent=False)
        self.register_buffer("_upper", torch.triu_indices(channels, channels, 1), persistent=False)

    def forward(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        lower, upper, diagonal = self._factors()
        # (L U P)[:, p[j]] = (L U)[:, j]
        matrix = (lower @ upper)[:, self._unpermute()]
        return _at_every_pixel(inputs, matrix, self.bias), _logabsdet(inputs, diagonal)

    def inverse(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        lower, upper, diagonal = self._factors()
        eye = torch.eye(len(diagonal), dtype=lower.dtype, device=lower.device)
        matrix = torch.linalg.solve_triangular(lower, eye, upper=False, unitriangular=True)
        matrix = torch.linalg.solve_triangular(upper, matrix, upper=True)[self._unpermute()]
        return _at_every_pixel(inputs - self.bias.view(1, -1, 1, 1), matrix, None), -_logabsdet(inputs, diagonal)

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        channels = len(self.bias)
        diagonal = F.softplus(self.unconstrained_upper_diag) + _LEAST_DIAGONAL
        zeros = self.bias.new_zeros(channels, channels)
        eye = torch.eye(channels, dtype=zeros.dtype, device=zeros.device)
        lower = zeros.index_put(tuple(self._lower), self.lower_entries) + eye
        return lower, zeros.index_put(tuple(self._upper), self.upper_entries) + diagonal.diag(), diagonal

    def _unpermute(self) -> Tensor:
        return torch.argsort(self.permutation._permutation)


class SplineCoupling(Transform):
    """The second half of the channels passes unchanged and bends the first half, value by value, with a spline.

    log |det| = sum of the log-derivatives. Splines see widths and heights divided by sqrt(hidden_channels), as nflows.
    """

    def __init__(
        self,
        channels: int,
        *,
        hidden_channels: int,
        blocks: int,
        spline: SplineSettings,
        conditioner_dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.spline = spline
        self.bent = (channels + 1) // 2
        self.transform_net = Conditioner(
            channels - self.bent,
            self.bent * spline.parameters,
            hidden_channels=hidden_channels,
            blocks=blocks,
            dtype=conditioner_dtype,
        )
        self.shrink = hidden_channels**-0.5

    def forward(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        return self._couple(inputs, inverse=False)

    def inverse(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        return self._couple(inputs, inverse=True)

    def _couple(self, inputs: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        bent, kept = inputs[:, : self.bent], inputs[:, self.bent :]
        bend = spline_inverse if inverse else spline_forward
        values, logabsdet = bend(bent.transpose(0, 1), self._spline_parameters(kept), self.spline)
        return torch.cat([values.transpose(0, 1), kept], 1), logabsdet.sum((0, 2, 3))

    def _spline_parameters(self, kept: Tensor) -> SplineParameters:
        """(K or K - 1, channels bent, B, H, W) each."""
        bins = self.spline.bins
        flat = self.transform_net(kept).unflatten(0, (self.bent, self.spline.parameters)).transpose(0, 1)
        widths, heights, derivatives = flat.split([bins, bins, bins - 1])
        return SplineParameters(widths * self.shrink, heights * self.shrink, derivatives)


class Multiscale(Transform):
    """Levels on ever coarser grids, and latents folded back, so that z has the shape of the image.

    Level: squeeze, transform; then the first half of the channels is latent and the second goes on to the next level
    (the last level keeps all). Going back up, each level puts the two halves together again and undoes the squeeze.
    Any H x W divisible by 2^levels. Dinh et al., Real NVP, arXiv 1605.08803, section 3.6.
    """

    def __init__(self, levels: Iterable[Transform]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)
        self.squeeze = Squeeze()

    def forward(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        return self._forward(0, inputs)

    def inverse(self, inputs: Tensor, context: None = None) -> tuple[Tensor, Tensor]:
        return self._inverse(0, inputs)

    def _forward(self, level: int, x: Tensor) -> tuple[Tensor, Tensor]:
        z, logabsdet = self._level(level)(self.squeeze(x)[0])
        if level + 1 < len(self.levels):
            done, rest = z.chunk(2, 1)
            rest, deeper = self._forward(level + 1, rest)
            z, logabsdet = torch.cat([done, rest], 1), logabsdet + deeper
        return self.squeeze.inverse(z)[0], logabsdet

    def _inverse(self, level: int, z: Tensor) -> tuple[Tensor, Tensor]:
        x, deeper = self.squeeze(z)
        if level + 1 < len(self.levels):
            done, rest = x.chunk(2, 1)
            rest, deeper = self._inverse(level + 1, rest)
            x = torch.cat([done, rest], 1)
        x, logabsdet = self._level(level).inverse(x)
        return self.squeeze.inverse(x)[0], logabsdet + deeper

    def _level(self, level: int) -> Transform:
        return cast(Transform, self.levels[level])


_LEAST_DIAGONAL = 1e-3  # keeps U invertible; the value of nflows


def _at_every_pixel(inputs: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    # Not a convolution: those may run in TF32 on a GPU, and the inverse would no longer be one.
    return F.linear(inputs.permute(0, 2, 3, 1), matrix, bias).permute(0, 3, 1, 2)


def _logabsdet(inputs: Tensor, diagonal: Tensor) -> Tensor:
    return (inputs.shape[2] * inputs.shape[3] * diagonal.log().sum()).expand(len(inputs))
