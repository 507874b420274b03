"""What a method takes and gives: the slices of one volume, and their harmonized twins."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from harmony.core.errors import DataError
from harmony.core.intensity_curve import IntensityCurve
from harmony.core.report import Report


@dataclass(frozen=True)
class Stack:
    """The 2-D slices of one volume, in anatomical order.

    image: (S, 1, H, W) float32 in [0, 1], zero outside the brain.
    mask: (S, 1, H, W) bool, True inside the brain.
    position: (S,) float32 in [0, 1], the place of each slice in the brain box (0 first, 1 last).
    spacing: mm from slice to slice, row to row, column to column; None where it is not known.
    resampled: blur that bringing the scan onto this grid made, Gaussian sigmas in voxels along the same axes.
    """

    image: Tensor
    mask: Tensor
    position: Tensor
    spacing: tuple[float, float, float] | None = None
    resampled: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.image.dim() != 4 or self.image.shape[1] != 1:
            raise ValueError(f"image must be (S, 1, H, W), got {tuple(self.image.shape)}")
        if self.mask.shape != self.image.shape:
            raise ValueError(f"mask {tuple(self.mask.shape)} and image {tuple(self.image.shape)} differ in shape")
        if self.position.shape != self.image.shape[:1]:
            raise ValueError(f"position must be ({len(self.image)},), got {tuple(self.position.shape)}")

    def __len__(self) -> int:
        return len(self.image)

    @property
    def with_brain(self) -> Tensor:
        """(S,) bool, on the device of the mask: the slices that hold any brain."""
        return self.mask.flatten(1).any(1)

    @property
    def side(self) -> float:
        """Of a voxel, mm: the mean of its three; 2 where nobody knows."""
        return sum(self.spacing) / len(self.spacing) if self.spacing else 2.0

    def to(self, device: torch.device) -> Stack:
        return replace(self, image=self.image.to(device), mask=self.mask.to(device), position=self.position.to(device))


@dataclass(frozen=True)
class Harmonized:
    """What a method made of a stack.

    image: (S, 1, H, W) in [0, 1], zero outside the mask.
    trace: name -> (iterations, S): what happened on the way (for example "distance", "bpd", "fallback").
    gain: (S, 1, H, W), the part of the change that is a smooth factor; None where there is none. On a finer grid the
        scan itself is multiplied by it, and only image - gain * query is interpolated.
    curve: what the image is of the query, where it is one curve of the intensity; None where it is more than that. On a
        finer grid it acts on the file's own voxels, and nothing is interpolated.
    report: what the method found out about the scan, if it looks; a result of its own.
    """

    image: Tensor
    trace: dict[str, Tensor] = field(default_factory=dict)
    gain: Tensor | None = None
    curve: IntensityCurve | None = None
    report: Report | None = None

    def refuse_no_numbers(self, method: str, subject: str) -> None:
        """Raises DataError for an image with pixels that are no numbers: it can be neither scored nor written."""
        if count := int((~self.image.isfinite()).sum()):
            cure = "leave the scan or the method out, and report it: this is a mistake of the method"
            raise DataError(f"{method} made {count} pixels that are no numbers", cure=cure, subject=subject)
