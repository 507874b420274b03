"""Tissue maps of a whole volume, and what scanner inversion knows of the reference scanner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.scanner import CELLS, FIELD_TERMS, Prior, Reading, TissueIntensity, Untouched

T = TypeVar("T")

CHANNELS = 2  # of the volume: the deblurred scan, and the scan
CONTEXT, HIDDEN = 12, 32  # channels of a pixel: what the U-Net says of it, and those of the layers that decide
BLOCK = 2  # pixels a side that become channels: the U-Net works on a grid of half the resolution


class TissueNet(nn.Module):
    """A U-Net on blocks of 2 x 2 pixels of a slice and its two neighbours (Shi et al. 2016, pixel shuffle), at a
    quarter of the cost, gives every pixel its context; two layers at full resolution decide by that and by the slices.

    volume (B, 2, S, H, W): the deblurred scan, and the scan -> (B, tissues, S, H, W) logits. Any size: zero-padded to
    what it can halve, and cropped back; beyond the first and the last slice there is nothing. The volume may be on
    another device than the network, and its logits are where it is.

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
        seen = 3 * CHANNELS
        self.down = nn.ModuleList(
            _Stage(before, width) for before, width in zip([seen * BLOCK**2, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            _Stage(below + width, width) for below, width in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.context = nn.Conv2d(widths[0], CONTEXT * BLOCK**2, 1)
        self.decide = nn.Sequential(_convolution(seen + CONTEXT, HIDDEN), nn.Conv2d(HIDDEN, tissues, 1))
        for name, value in _neutral(tissues, frequencies).items():
            self.register_buffer(name, value)

    @property
    def prior(self) -> Prior:
        """On the CPU, where scans are read."""
        kept = {name: buffer.cpu() for name, buffer in self.named_buffers(recurse=False)}

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
        for name, buffer in self.named_buffers(recurse=False):
            head, _, tail = name.partition("_")
            value = (
                getattr(getattr(new, head), tail)
                if head in ("expected", "reading", "raw", "matched")
                else getattr(new, name)
            )
            buffer.copy_(value)

    def forward(self, volume: Tensor) -> Tensor:
        height, width = volume.shape[-2:]
        padded = F.pad(volume.to(self.spectrum), (0, -width % self.divisor, 0, -height % self.divisor, 1, 1))
        beside = torch.cat((padded[:, :, :-2], padded[:, :, 1:-1], padded[:, :, 2:]), dim=1)
        slices = beside.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x, skips = F.pixel_unshuffle(slices, BLOCK), []
        for k, stage in enumerate(self.down):
            x = stage(F.avg_pool2d(x, 2) if k else x)
            skips.append(x)
        for stage, skip in zip(self.up, skips[-2::-1], strict=True):
            x = stage(torch.cat((F.interpolate(x, scale_factor=2, mode="nearest"), skip), dim=1))
        context = F.pixel_shuffle(self.context(x), BLOCK)
        logits = self.decide(torch.cat((slices, context), dim=1))[..., :height, :width]
        return logits.unflatten(0, (len(volume), -1)).transpose(1, 2).to(volume)


class _Stage(nn.Module):
    """conv -> norm -> SiLU, then the same around a shortcut."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.enter, self.stay = _convolution(before, width), _convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return x + self.stay(x)


def _convolution(before: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.SiLU())


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
