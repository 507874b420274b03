"""From a file to slices on the model's grid, and back onto the file's own grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from harmony.core import ConfigError, DataError, Scan, Volume
from harmony.core.intensity_curve import IntensityCurve
from harmony.core.measures import robust_scaled
from harmony.data.volumes.bias import n4
from harmony.data.volumes.brain import brain_mask, brain_of
from harmony.data.volumes.grid import ModelGrid, low_pass_sigma, places
from harmony.data.volumes.labels import LABEL_MAPS, UnknownLabelsError, map_labels
from harmony.data.volumes.native_curve import on_native
from harmony.data.volumes.nifti import Nifti, read_labels, read_nifti
from harmony.data.volumes.plausible import implausible

Axis = Literal["axial", "coronal", "sagittal"]
# The RAS axes (0 = left-right, 1 = posterior-anterior, 2 = inferior-superior) that become (slice, row, column).
LAYOUT: dict[str, tuple[int, int, int]] = {"axial": (2, 0, 1), "coronal": (1, 0, 2), "sagittal": (0, 1, 2)}
VERSION = 1  # part of every cache key: raise it when the same settings give other voxels
GROWTH = 16  # pixels; what flows and U-Nets of four levels divide by
LINEAR = 1 / 6  # variance of a linear interpolation, native voxels^2, mean over places
SPACING_MM, SIZE = (0.1, 20.0), (1, 4096)  # beyond, a slip of the pen or more memory than there is


class Preprocess:
    """Scan -> Volume: RAS, `spacing` mm, robust scale, brain box along the slice axis, centred in `size` in plane.

    spacing: voxel side in mm. axis: the slice axis. size: (H, W) pixels. percentile: of the brain, becomes intensity 1.
    label_map: the segmentation whose codes become the structures of `labels.STRUCTURES`; None leaves the codes alone.
    n4: first correct the shading (needs SimpleITK); `restore` then gives the corrected image with the change added.
    only_plausible: refuse a scan that cannot be a person's brain (see `plausible`). It decides no voxel.
    grows: a brain that is larger than `size` gets larger slices, of the next multiple of GROWTH. For harmonizing, where
        a volume is alone; the slices of a batch share one size, so training refuses such a brain.
    Raises ConfigError for a spacing, size or percentile that cannot be.
    """

    def __init__(
        self,
        *,
        spacing: float,
        axis: Axis,
        size: tuple[int, int],
        percentile: float,
        label_map: str | None = None,
        n4: bool = False,
        only_plausible: bool = True,
        grows: bool = False,
    ) -> None:
        if axis not in LAYOUT:
            raise ValueError(f"axis must be one of {sorted(LAYOUT)}, got {axis!r}")
        if label_map is not None and label_map not in LABEL_MAPS:
            raise ValueError(f"label_map must be null or one of {sorted(LABEL_MAPS)}, got {label_map!r}")
        self.label_map, self.n4, self.only_plausible, self.grows = label_map, n4, only_plausible, grows
        self.spacing, self.axis, self.percentile = float(spacing), axis, float(percentile)
        self.size = (int(size[0]), int(size[1]))
        _check("spacing", self.spacing, SPACING_MM)
        _check("percentile", self.percentile, (1.0, 100.0))
        _check("size", min(self.size), SIZE)
        _check("size", max(self.size), SIZE)

    def settings(self) -> dict[str, float | int | str | list[int] | None]:
        """Every constant that decides the voxels, as plain values: for the model card and the cache key."""
        return {
            "spacing": self.spacing,
            "axis": self.axis,
            "size": list(self.size),
            "percentile": self.percentile,
            "orientation": "RAS",
            "label_map": self.label_map,
            "n4": self.n4,
            "version": VERSION,
        }

    def __call__(self, scan: Scan) -> Volume:
        """Raises DataError for a file that cannot be read, an empty brain, or a brain larger than `size`."""
        native = read_nifti(scan.path, subject=scan.subject)
        brain = brain_of(scan, native)
        mask, signal = brain.mask, replace(native, data=native.data - np.float32(brain.zero))
        if self.only_plausible and mask.any() and (problem := implausible(signal, mask)):
            raise _bad(
                scan,
                problem,
                "check file and mask (harmonize finds a brain with mask=auto); only_plausible=false takes it as it is",
            )
        grid = ModelGrid(native.data.shape, native.affine, self.spacing)
        image = torch.from_numpy(grid.linear(np.maximum(self._even(signal, mask), 0)))
        inside = torch.from_numpy(grid.nearest(mask))
        labels = lesions = None
        if scan.labels is not None:
            labels = torch.from_numpy(grid.nearest(self._labels(scan.labels, native, scan.subject)).astype(np.int16))
        if scan.lesions is not None:
            lesions = torch.from_numpy(grid.nearest(read_labels(scan.lesions, native, scan.subject) > 0)) & inside
        image, scale = robust_scaled(image, inside, self.percentile)
        if scale <= 0:
            raise _bad(scan, "the brain is empty", "give an image with the brain above 0, or a mask that covers it")
        start = self._start(inside, scan, native.oriented)
        return Volume(
            scan=scan,
            image=self._cut(image, start),
            mask=self._cut(inside, start),
            labels=None if labels is None else self._cut(labels, start),
            affine=_moved(grid.affine, LAYOUT[self.axis], start),
            scale=scale,
            lesions=None if lesions is None else self._cut(lesions, start),
            zero=brain.zero,
            remarks=brain.remarks,
            resampled=self._resampled(grid),
        )

    def restore(
        self,
        volume: Volume,
        harmonized: Tensor,
        native: Nifti,
        gain: Tensor | None = None,
        curve: IntensityCurve | None = None,
    ) -> np.ndarray:
        """On the grid of the file: zero + y gain + scale (harmonized - gain image), the latter resampled, with
        y = native - zero; where the whole change is a curve, zero + scale curve(y / scale), and nothing is resampled
        (`native_curve`).

        Only the *change* is resampled, so what was not changed keeps its voxels exactly: detail finer than the model's
        grid, highlights above the robust maximum, everything outside the brain. harmonized: (S, H, W) in [0, 1].
        gain: (S, H, W) the smooth factor in the change, if there is one: it acts on the file's own voxels, and so does
        the curve.
        Returns (X, Y, Z) float32 in native intensity units; a voxel is not driven below min(zero, its own value).
        """
        if harmonized.shape != volume.image.shape:
            raise ValueError(
                f"harmonized {tuple(harmonized.shape)} is not on the volume's grid {tuple(volume.image.shape)}"
            )
        if curve is not None:
            return self._curved(volume, harmonized, native, curve)
        factor = torch.ones_like(volume.image) if gain is None else gain.float()
        change = torch.where(volume.mask, harmonized.float() - factor * volume.image, 0)
        brain = brain_mask(volume.scan, native)
        at = places(volume.affine, np.argwhere(brain), native.affine)
        parts = (change, torch.where(volume.mask, factor - 1, 0), volume.mask.float())
        of_brain = np.stack(
            [ndimage.map_coordinates(part.numpy(), at, order=1, mode="grid-constant") for part in parts]
        )
        # Divided by the resampled mask: next to the brain's edge the zeros outside do not water the change down.
        of_brain = np.divide(of_brain, of_brain[2], out=np.zeros_like(of_brain), where=of_brain[2] > 0.05)
        change_native, factor_native = np.zeros((2, *native.data.shape), np.float32)
        change_native[brain], factor_native[brain] = of_brain[:2]
        zero, own = self._own(volume, native, brain)
        unchanged = own + zero if self.n4 else native.data
        harmonized_native = unchanged + own * factor_native + np.float32(volume.scale) * change_native
        return np.maximum(harmonized_native, np.minimum(native.data, zero))

    def relative(self, volume: Volume, data: np.ndarray, native: Nifti) -> np.ndarray:
        """What `restore` gave, in the unit of the model: (data - zero) / scale; a background of one value becomes 0."""
        relative = (data - np.float32(volume.zero)) / np.float32(volume.scale)
        if not volume.zero:
            return relative
        brain = brain_of(volume.scan, native)
        return np.where(brain.mask | (native.data != brain.background), relative, np.float32(0))

    def _curved(self, volume: Volume, harmonized: Tensor, native: Nifti, curve: IntensityCurve) -> np.ndarray:
        brain = brain_mask(volume.scan, native)
        zero, own = self._own(volume, native, brain)
        relative = np.where(brain, np.maximum(own, 0) / volume.scale, 0)
        bent = zero + volume.scale * on_native(curve, relative, native.affine, volume, harmonized)
        unchanged = own + zero if self.n4 else native.data
        return np.where(brain & (own > 0), bent, unchanged).astype(np.float32)

    def _resampled(self, grid: ModelGrid) -> tuple[float, float, float]:
        """Gaussian sigmas in new voxels along (S, H, W): of the low-pass, and of the linear interpolation, whose
        variance is w (1 - w) native voxels^2 between two of them, 1/6 on average."""
        if grid.kept:
            return 0.0, 0.0, 0.0
        sigma = np.sqrt(low_pass_sigma(grid.ratio) ** 2 + LINEAR) / grid.ratio
        slices, rows, columns = (float(sigma[axis]) for axis in LAYOUT[self.axis])
        return slices, rows, columns

    def _own(self, volume: Volume, native: Nifti, brain: np.ndarray) -> tuple[np.float32, np.ndarray]:
        """What intensities are counted from, and the file's voxels counted from it."""
        zero = np.float32(volume.zero)
        return zero, self._even(replace(native, data=native.data - zero), brain)

    def _even(self, native: Nifti, mask: np.ndarray) -> np.ndarray:
        """The image's voxels, without their shading where that was asked for."""
        return n4(native.data, mask, np.linalg.norm(native.affine[:3, :3], axis=0)) if self.n4 else native.data

    def _labels(self, path: Path, native: Nifti, subject: str) -> np.ndarray:
        labels = read_labels(path, native, subject)
        if self.label_map is None:
            return labels
        try:
            return map_labels(labels, self.label_map)
        except UnknownLabelsError as error:
            cure = "correct data.preprocess.label_map=, or null to keep the codes as they are"
            problem = f"{self.label_map} has no label {error}"
            raise DataError(problem, cure=cure, path=path, subject=subject) from error

    def _start(self, mask: Tensor, scan: Scan, oriented: bool) -> tuple[tuple[int, int], ...]:
        """First index and length along (S, H, W): the brain box, in plane grown to `size` about its centre."""
        places = mask.permute(LAYOUT[self.axis]).nonzero()
        low, high = places.amin(0).tolist(), places.amax(0).tolist()
        brain = [top - bottom + 1 for bottom, top in zip(low, high, strict=True)]
        pairs = zip(brain[1:], self.size, strict=True)
        sizes = [size if extent <= size else -(-extent // GROWTH) * GROWTH for extent, size in pairs]
        if sizes != list(self.size) and not (self.grows and oriented):
            self._refuse_size(scan, brain[1:], sizes, oriented)
        starts = [bottom + (extent - n) // 2 for bottom, extent, n in zip(low[1:], brain[1:], sizes, strict=True)]
        return ((low[0], brain[0]), *zip(starts, sizes, strict=True))

    def _refuse_size(self, scan: Scan, brain: list[int], sizes: list[int], oriented: bool) -> None:
        problem = f"the brain covers {brain[0]} x {brain[1]} pixels, more than the size {self.size[0]} x {self.size[1]}"
        cure = f"train with data.preprocess.size=[{sizes[0]},{sizes[1]}]"
        if not oriented:
            problem += "; the header states no orientation (sform and qform code 0), so its axes are guessed"
            cure = "write the orientation into the header (sform), as the scanner or the converter has it"
        raise _bad(scan, problem, cure)

    def _cut(self, data: Tensor, start: tuple[tuple[int, int], ...]) -> Tensor:
        """(X, Y, Z) -> (S, H, W), zeros where the window leaves the grid."""
        data = data.permute(LAYOUT[self.axis])
        out = data.new_zeros([length for _, length in start])
        spans = [(max(first, 0), min(first + n, have)) for (first, n), have in zip(start, data.shape, strict=True)]
        source = tuple(slice(a, b) for a, b in spans)
        target = tuple(slice(a - first, b - first) for (a, b), (first, _) in zip(spans, start, strict=True))
        out[target] = data[source]
        return out


def _check(name: str, value: float, bounds: tuple[float, float]) -> None:
    if not bounds[0] <= value <= bounds[1]:  # nan too
        raise ConfigError(f"data.preprocess.{name}={value:g}: not from {bounds[0]:g} to {bounds[1]:g}")


def _moved(affine: np.ndarray, order: tuple[int, int, int], start: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Array index (s, h, w) -> mm, given the affine of (x, y, z)."""
    index = np.zeros((4, 4))
    for column, axis in enumerate(order):
        index[axis, column] = 1
        index[axis, 3] = start[column][0]
    index[3, 3] = 1
    return affine @ index


def _bad(scan: Scan, problem: str, cure: str) -> DataError:
    return DataError(problem, cure=cure, path=scan.path, subject=scan.subject)
