"""A scan on the model's grid, cut into slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harmony.core.manifest import Scan
from harmony.core.stack import Stack


@dataclass(frozen=True)
class Volume:
    """A preprocessed scan: S slices of H x W pixels that hold the whole brain box along the slice axis.

    image: (S, H, W) float32 in [0, 1]: (native intensity - zero) / scale, clipped, zero outside the brain.
    mask: (S, H, W) bool.
    labels: (S, H, W) int16, or None. lesions: (S, H, W) bool, or None.
    affine: (4, 4) float64, array index (s, h, w) -> world millimetres (RAS).
    scale: native intensity, counted from `zero`, that became 1 (the robust maximum of the volume).
    zero: native intensity of no signal: 0 but for scans that were shifted (z-scores, -1 to 1).
    remarks: what a reader of a result should know of the scan, in words.
    resampled: blur that bringing it onto its grid made, Gaussian sigmas in voxels along slices, rows, columns.
    """

    scan: Scan
    image: Tensor
    mask: Tensor
    labels: Tensor | None
    affine: np.ndarray
    scale: float
    lesions: Tensor | None = None
    zero: float = 0.0
    remarks: tuple[str, ...] = ()
    resampled: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def select(self, count: int | None, step: int) -> Tensor:
        """Indices of `count` slices, every `step`-th, from the middle of the brain box; all of them for None.

        Where the box is too small for `count`, as many as fit.
        """
        return middle_slices(len(self.image), count, step)

    def spacing(self, index: Tensor) -> tuple[float, float, float]:
        """Millimetres from one chosen slice to the next, from row to row, from column to column."""
        slices, rows, columns = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return slices * (int(index[1] - index[0]) if len(index) > 1 else 1), rows, columns

    def stack(self, index: Tensor) -> Stack:
        """The chosen slices as a method wants them."""
        last = max(len(self.image) - 1, 1)
        image, mask, position = self.image[index, None], self.mask[index, None], index.float() / last
        return Stack(image, mask, position, self.spacing(index), self.resampled)


def middle_slices(total: int, count: int | None, step: int) -> Tensor:
    """The indices of `Volume.select` among the `total` slices of a brain box."""
    last = total - 1
    if count is None:
        return torch.arange(0, last + 1, step)
    count = min(count, last // step + 1)
    first = (last - (count - 1) * step) // 2
    return first + step * torch.arange(count)
