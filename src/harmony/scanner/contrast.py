"""Tissue gains and shading of a whole volume, in log intensity: what they do, and their robust least squares.

Volumes are (S, H, W) on the model's grid, tissue maps (K, S, H, W) probabilities.
Places are coordinates in the brain box: -1 .. 1 along each axis from one end of the mask to the other.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = 0.01  # of the robust maximum: darker voxels say nothing of a gain, and their logarithm runs away
ORDER = 3  # of the polynomials in the brain box
POWERS = tuple(p for p in itertools.product(range(ORDER + 1), repeat=3) if sum(p) <= ORDER)  # the constant is first
FIELD_TERMS = len(POWERS) - 1
ROUNDS = 6  # of reweighting: it has settled by then
TUKEY = 4.685  # deviations beyond which a voxel does not count: 95 % efficient for a normal distribution


@dataclass(frozen=True)
class TissueIntensity:
    """What the reference scanner makes of each tissue: E_k(r) = exp(cubic(r) a_k).

    coefficients: (K, 20) a_k, of the log intensity. spread: (K,) robust deviation of the log intensity about it.
    """

    coefficients: Tensor
    spread: Tensor

    def log_at(self, place: Tensor) -> Tensor:
        """(N, 3) places -> (K, N) log E_k."""
        return self.coefficients @ cubic(place).T

    def log_over(self, box: Box) -> Tensor:
        """(K, S, H, W) log E_k."""
        return smooth(self.coefficients, box)


@dataclass(frozen=True)
class Contrast:
    """log gain of tissue k at r = log_gains[k] + B(r) field; B the cubic without its constant, (19,) coefficients."""

    log_gains: Tensor
    field: Tensor

    @property
    def theta(self) -> Tensor:
        """(K + 19,)"""
        return torch.cat((self.log_gains, self.field))

    @classmethod
    def of(cls, theta: Tensor) -> Contrast:
        return cls(theta[:-FIELD_TERMS], theta[-FIELD_TERMS:])

    def log_over(self, box: Box) -> Tensor:
        """(K, S, H, W) log gains."""
        shading = smooth(torch.cat((self.field.new_zeros(1), self.field)), box)
        return torch.stack([gain + shading for gain in self.log_gains])


@dataclass(frozen=True)
class ContrastFit:
    """contrast: of least squares. spread: (K,) robust deviation of the log intensity that it leaves in each tissue."""

    contrast: Contrast
    spread: Tensor


Box = tuple[Tensor, Tensor, Tensor]  # places along each axis: (S,), (H,), (W,)


def brain_box(mask: Tensor) -> Box:
    """The places of a (S, H, W) mask's voxels; an axis along which the brain is one voxel has the place 0."""
    axes, columns = [], mask.any(2)
    for covered in (columns.any(1), columns.any(0), mask.any(0).any(0)):
        inside, size = covered.nonzero(), len(covered)
        low, high = (int(inside[0]), int(inside[-1])) if len(inside) else (0, size - 1)
        half = max((high - low) / 2, 0.5)
        axes.append((torch.arange(size, dtype=torch.float32, device=mask.device) - (low + high) / 2) / half)
    return axes[0], axes[1], axes[2]


def places(box: Box, voxels: Tensor) -> Tensor:
    """(N, 3) places of the voxels (N, 3) int64."""
    return torch.stack([axis[voxels[:, k]] for k, axis in enumerate(box)], dim=-1)


def cubic(place: Tensor) -> Tensor:
    """(..., 3) -> (..., 20) the monomials of degree 0 to 3."""
    powers = torch.stack([torch.ones_like(place), place, place**2, place**3])
    return torch.stack([powers[i, ..., 0] * powers[j, ..., 1] * powers[k, ..., 2] for i, j, k in POWERS], dim=-1)


def smooth(coefficients: Tensor, box: Box) -> Tensor:
    """(..., 20) coefficients of `cubic` -> (..., S, H, W) the polynomials, axis by axis."""
    cube = coefficients.new_zeros((*coefficients.shape[:-1], *3 * (ORDER + 1,)))
    index = torch.tensor(POWERS, device=coefficients.device)
    cube[..., index[:, 0], index[:, 1], index[:, 2]] = coefficients
    along = [torch.stack([axis**power for power in range(ORDER + 1)], dim=-1) for axis in box]
    return torch.einsum("...ijk,si,hj,wk->...shw", cube, *along)


def field_scale() -> Tensor:
    """(19,) root mean square of each monomial over the brain box: E x^2p = 1 / (2 p + 1) along an axis."""
    return torch.tensor(POWERS[1:]).mul(2).add(1).float().reciprocal().prod(1).sqrt()


def scanner_variance(tissues: int, *, gain: float, shading: float) -> Tensor:
    """(K + 19,) mean square of log gains and of the shading's coefficients of scanners that have any, where deviations
    are uniform up to `gain` and `shading` (`data.ScannerCorruption`): E U(0, a)^2 = a^2 / 3."""
    field = shading**2 / 3 / FIELD_TERMS / field_scale().square()
    return torch.cat((torch.full((tissues,), gain**2 / 3), field))


def fit_contrast(image: Tensor, maps: Tensor, place: Tensor, expected: TissueIntensity) -> ContrastFit:
    """Robust least squares of log y - log E_k(r) = log g_k + B(r) c over the voxels that are almost surely tissue k.

    image: (N,) intensities > 0 of the brain's voxels; maps: (K, N); place: (N, 3). Every voxel is an equation for each
    tissue, weighted by the cube of its probability (pure voxels count, partial volume hardly does) over the squared
    spread, and by Tukey's biweight of its residual. A weak ridge keeps what a small or flat brain leaves open at 0.
    """
    tissues = len(maps)
    ratio = image.clamp(min=FLOOR).log() - expected.log_at(place)  # (K, N)
    field = cubic(place)[:, 1:].double()
    prior = (maps**3 / expected.spread[:, None].square()).double()
    weight, theta, spread = prior, torch.zeros(tissues + FIELD_TERMS).to(field), expected.spread.double()
    for _ in range(ROUNDS):
        right = torch.cat(((weight * ratio).sum(1), field.T @ (weight * ratio).sum(0)))
        theta = torch.linalg.solve(_normal(weight, field), right)
        residual = ratio - theta[:tissues, None] - field @ theta[tissues:]
        spread = torch.stack([_spread(r, w) for r, w in zip(residual, maps**3, strict=True)])
        share = (residual / (TUKEY * spread[:, None])).clamp(-1, 1)
        weight = prior * (1 - share**2) ** 2
    return ContrastFit(Contrast.of(theta.float()), spread.float())


def _normal(weight: Tensor, field: Tensor) -> Tensor:
    """(K + 19, K + 19) the matrix of the normal equations."""
    tissues = len(weight)
    cross = weight @ field
    top = torch.cat((torch.diag(weight.sum(1)), cross), dim=1)
    bottom = torch.cat((cross.T, field.T @ (weight.sum(0)[:, None] * field)), dim=1)
    normal = torch.cat((top, bottom))
    ridge = 1.0 + 1e-6 * float(weight.sum())
    return normal + ridge * torch.eye(tissues + field.shape[1]).to(normal)


def _spread(residual: Tensor, weight: Tensor) -> Tensor:
    """Weighted median of |residual|, times 1.4826: a robust standard deviation."""
    size, order = residual.abs().sort()
    reached = weight[order].double().cumsum(0)
    if len(reached) == 0 or reached[-1] <= 0:
        return torch.ones((), dtype=torch.float64, device=residual.device)
    middle = torch.searchsorted(reached, 0.5 * reached[-1]).clamp(max=len(size) - 1)
    return (1.4826 * size[middle]).clamp(min=1e-3).double()
