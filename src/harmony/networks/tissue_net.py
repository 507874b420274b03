"""Tissue maps of a whole volume, and what a restored volume still lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.core.scanner import CELLS, FIELD_TERMS, Prior, Reading, TissueIntensity, Untouched

T = TypeVar("T")

GROUPS = 4
CONSTANTS = 3
UNLIKELY = 4.0  # nats: what intensity may say against a tissue; voxels of two tissues are like neither
CONTEXT, HIDDEN = 8, 24  # channels of a voxel: what the U-Net says of it, and those of the network that decides
BLOCK = 2  # voxels a side that become channels: the network works on a grid of half the resolution


class TissueNet(nn.Module):
    """A three-dimensional U-Net on blocks of 2 x 2 x 2 voxels (Shi et al. 2016, pixel shuffle), at an eighth of the
    cost, gives every voxel its context; a small network for each voxel decides by that and by the voxel itself. Both
    correct what the intensity alone says, -(d_k / s_k)^2 / 2 with d_k the log intensity's distance from tissue k.

    volume (B, 2 + tissues, S, H, W): the deblurred scan, the scan, and the deblurred scan's log intensity over what
    each tissue should have under the scanner as it is known so far. constants (B, 3): whether the scanner is known (1)
    or not (0), blur in voxels, noise. -> (B, tissues, S, H, W) logits. Any size: zero-padded to what it can halve, and
    cropped back.

    Args:
        widths: channels at half the resolution, and at each further halving.
        frequencies: bins of the reference's spectrum.

    Its buffers are what else scanner inversion learned from the reference scans, so that it travels with the weights:
    the fields of `scanner.Prior` (property `prior`).
    """

    expected_coefficients: Tensor
    expected_spread: Tensor
    spectrum: Tensor

    def __init__(self, *, tissues: int, widths: Sequence[int], frequencies: int) -> None:
        super().__init__()
        self.divisor = BLOCK * 2 ** (len(widths) - 1)
        self.tissues = tissues
        first = (2 + tissues) * BLOCK**3 + CONSTANTS
        self.down = nn.ModuleList(
            _Stage(before, width) for before, width in zip([first, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            _Stage(below + width, width) for below, width in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.context = nn.Conv3d(widths[0], CONTEXT * BLOCK**3, 1)
        last = nn.Conv3d(HIDDEN, tissues, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.voxel = nn.Sequential(nn.Conv3d(2 + tissues + CONTEXT, HIDDEN, 1), nn.SiLU(), last)
        for name, value in _neutral(tissues, frequencies).items():
            self.register_buffer(name, value)

    @property
    def prior(self) -> Prior:
        kept = dict(self.named_buffers())

        def group(kind: Callable[..., T], prefix: str) -> T:
            return kind(*(kept[f"{prefix}_{field.name}"] for field in fields(kind)))  # type: ignore[arg-type]

        return Prior(
            expected=group(TissueIntensity, "expected"),
            spectrum=kept["spectrum"],
            reading=group(Reading, "reading"),
            own=kept["own"],
            own_covariance=kept["own_covariance"],
            scanners=kept["scanners"],
            raw=group(Untouched, "raw"),
            matched=group(Untouched, "matched"),
        )

    @prior.setter
    def prior(self, new: Prior) -> None:
        for name, buffer in self.named_buffers():
            head, _, tail = name.partition("_")
            value = (
                getattr(getattr(new, head), tail)
                if head in ("expected", "reading", "raw", "matched")
                else getattr(new, name)
            )
            buffer.copy_(value)

    def forward(self, volume: Tensor, constants: Tensor) -> Tensor:
        size = volume.shape[-3:]
        padded = F.pad(volume, [edge for n in reversed(size) for edge in (0, -n % self.divisor)])
        x = _blocks(padded)
        x = torch.cat((x, constants[..., None, None, None].expand(-1, -1, *x.shape[2:])), dim=1)
        skips = []
        for k, stage in enumerate(self.down):
            x = stage(F.avg_pool3d(x, 2) if k else x)
            skips.append(x)
        for stage, skip in zip(self.up, skips[-2::-1], strict=True):
            x = stage(torch.cat((F.interpolate(x, scale_factor=2, mode="nearest"), skip), dim=1))
        context = _voxels(self.context(x))[..., : size[0], : size[1], : size[2]]
        distance = volume[:, 2:] / self.expected_spread.view(-1, 1, 1, 1)
        by_intensity = -(0.5 * distance.square()).clamp(max=UNLIKELY) - self.expected_spread.log().view(-1, 1, 1, 1)
        return by_intensity + self.voxel(torch.cat((volume, context), dim=1))


class _Stage(nn.Module):
    """conv -> norm -> SiLU, then the same around a shortcut."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            nn.Conv3d(before, width, 3, padding=1), nn.GroupNorm(_groups(width), width), nn.SiLU()
        )
        self.stay = nn.Sequential(nn.Conv3d(width, width, 3, padding=1), nn.GroupNorm(_groups(width), width), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return x + self.stay(x)


def _groups(width: int) -> int:
    return GROUPS if width % GROUPS == 0 else 1


def _blocks(x: Tensor) -> Tensor:
    """(B, C, S, H, W) -> (B, 8 C, S/2, H/2, W/2)."""
    b, c, s, h, w = x.shape
    x = x.view(b, c, s // 2, 2, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, c * 8, s // 2, h // 2, w // 2)


def _voxels(x: Tensor) -> Tensor:
    """The inverse of `_blocks`."""
    b, c, s, h, w = x.shape
    x = x.view(b, c // 8, 2, 2, 2, s, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c // 8, s * 2, h * 2, w * 2)


def _neutral(tissues: int, frequencies: int) -> dict[str, Tensor]:
    """A prior that nothing was learned for: tissues of rising intensity, no blur or noise, nothing ever untouched."""
    size = tissues + FIELD_TERMS
    evidence = size + tissues + 2
    level = F.pad(torch.linspace(0.3, 0.8, tissues).log()[:, None], (0, FIELD_TERMS))
    nothing = {"mean": torch.zeros(evidence), "precision": torch.eye(evidence), "limit": torch.tensor(1e-6)}
    return {
        "expected_coefficients": level,
        "expected_spread": torch.full((tissues,), 0.2),
        "spectrum": torch.logspace(4, -3, frequencies),
        "reading_power": torch.full((CELLS**3,), -6.0),
        "reading_deviation": torch.full((CELLS**3,), 0.2),
        "reading_sharp": torch.tensor(0.3),
        "reading_quiet": torch.tensor(0.03),
        "own": torch.zeros(size),
        "own_covariance": 1e-3 * torch.eye(size),
        "scanners": torch.full((size,), 0.01),
        **{f"{kind}_{name}": value.clone() for kind in ("raw", "matched") for name, value in nothing.items()},
    }
