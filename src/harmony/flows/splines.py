"""Monotone rational-quadratic splines with linear tails.

Durkan et al., Neural Spline Flows, arXiv 1906.04032, section 3.1. In bin k, between the knots (x_k, y_k) and
(x_k+1, y_k+1) of width w, height h, slope s = h / w and knot derivatives d_k, d_k+1, with t = (x - x_k) / w:

    y     = y_k + h (s t^2 + d_k t (1 - t)) / q,                 q = s + (d_k + d_k+1 - 2 s) t (1 - t)
    dy/dx = s^2 (d_k+1 t^2 + 2 s t (1 - t) + d_k (1 - t)^2) / q^2

Outside [-B, B] the map is the identity and the derivative at +-B is 1. Numbers are those of nflows 0.14, but nothing is
indexed by a boolean mask (which is slow, waits for the device, and fails when every value lies in the tails).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SplineSettings:
    """K bins on [-tail_bound, tail_bound]; least bin width and height as shares of that interval; least derivative."""

    bins: int
    tail_bound: float
    min_bin_width: float
    min_bin_height: float
    min_derivative: float

    def __post_init__(self) -> None:
        if max(self.min_bin_width, self.min_bin_height) * self.bins > 1:
            raise ValueError(f"{self.bins} bins of the least width or height do not fit into the interval")

    @property
    def parameters(self) -> int:
        """Numbers per transformed value: K widths, K heights, K - 1 inner derivatives."""
        return 3 * self.bins - 1


class SplineParameters(NamedTuple):
    """Unconstrained numbers of every spline, bins first: a bin is a plane, and the arithmetic runs plane by plane.

    widths, heights: (K, ...). derivatives: (K - 1, ...), at the inner knots.
    """

    widths: Tensor
    heights: Tensor
    derivatives: Tensor


class _Bin(NamedTuple):
    """The bin of each value: left knot, size, and the derivatives at both ends; all of the values' shape."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    left: Tensor
    right: Tensor


def spline_forward(inputs: Tensor, parameters: SplineParameters, settings: SplineSettings) -> tuple[Tensor, Tensor]:
    """y and log dy/dx at x = `inputs`, all three of one shape (...)."""
    inside = inputs.abs() <= settings.tail_bound
    x = inputs.clamp(-settings.tail_bound, settings.tail_bound)
    b = _find_bin(x, parameters, settings, by_height=False)
    outputs, logabsdet = _evaluate(b, (x - b.x) / b.width)
    return torch.where(inside, outputs, inputs), torch.where(inside, logabsdet, 0)


def spline_inverse(inputs: Tensor, parameters: SplineParameters, settings: SplineSettings) -> tuple[Tensor, Tensor]:
    """x and log dx/dy (the negative of the forward one) at y = `inputs`, all three of one shape (...)."""
    inside = inputs.abs() <= settings.tail_bound
    y = inputs.clamp(-settings.tail_bound, settings.tail_bound)
    b = _find_bin(y, parameters, settings, by_height=True)
    t = _solve(b, y - b.y)
    _, logabsdet = _evaluate(b, t)
    return torch.where(inside, t * b.width + b.x, inputs), torch.where(inside, -logabsdet, 0)


def _find_bin(value: Tensor, parameters: SplineParameters, settings: SplineSettings, *, by_height: bool) -> _Bin:
    xs = _knots(parameters.widths, settings.min_bin_width, settings.tail_bound)
    ys = _knots(parameters.heights, settings.min_bin_height, settings.tail_bound)
    # The unconstrained number whose derivative is 1: the spline meets its linear tails smoothly.
    end = torch.full_like(value, math.log(math.expm1(1 - settings.min_derivative)))[None]
    derivatives = torch.cat([end, parameters.derivatives, end])

    inner = (ys if by_height else xs)[1:-1]
    index = (value >= inner).sum(0, keepdim=True)
    ends = torch.cat([index, index + 1])
    (x, x_next), (y, y_next) = xs.gather(0, ends), ys.gather(0, ends)
    left, right = settings.min_derivative + F.softplus(derivatives.gather(0, ends))
    return _Bin(x, y, x_next - x, y_next - y, left, right)


def _knots(unnormalized: Tensor, least: float, bound: float) -> Tensor:
    """(K, ...) -> (K + 1, ...) increasing from -bound to bound, in steps of 2 bound (least + (1 - K least) softmax)."""
    bins = len(unnormalized)
    inner = torch.cumsum(F.softmax(unnormalized, 0)[:-1], 0)
    ramp = torch.arange(1, bins, device=inner.device).to(inner.dtype) * (2 * bound * least) - bound
    inner = torch.add(ramp.view(-1, *[1] * (inner.dim() - 1)), inner, alpha=2 * bound * (1 - bins * least))
    end = torch.full_like(inner[:1], bound)
    return torch.cat([-end, inner, end])


def _evaluate(b: _Bin, t: Tensor) -> tuple[Tensor, Tensor]:
    """y and log dy/dx at the share t in [0, 1] of each bin."""
    slope, tt = b.height / b.width, t * (1 - t)
    q = slope + (b.left + b.right - 2 * slope) * tt
    y = b.y + b.height * (slope * t.square() + b.left * tt) / q
    numerator = slope.square() * (b.right * t.square() + 2 * slope * tt + b.left * (1 - t).square())
    return y, torch.log(numerator) - 2 * torch.log(q)


def _solve(b: _Bin, rise: Tensor) -> Tensor:
    """The share t at which the spline has risen by `rise` above its left knot: a quadratic, in its stable form."""
    slope = b.height / b.width
    bend = rise * (b.left + b.right - 2 * slope)
    a2 = bend + b.height * (slope - b.left)
    a1 = b.height * b.left - bend
    a0 = -slope * rise
    # Rounding can push the discriminant below 0. Not clamped at 0 itself: the gradient of sqrt(0) is infinite.
    discriminant = (a1.square() - 4 * a2 * a0).clamp_min(torch.finfo(rise.dtype).tiny)
    # Where slope and derivatives differ by orders of magnitude, float32 may overshoot the bin.
    return (2 * a0 / (-a1 - discriminant.sqrt())).clamp(0, 1)
