"""A small brain whose every voxel is known, and ways to save it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import torch

from harmony.core import Scan, Volume
from harmony.data import Preprocess

SHAPE = (30, 36, 28)
AFFINE = np.array([[2.0, 0, 0, -31], [0, 2, 0, -40], [0, 0, 2, -20], [0, 0, 0, 1]])


def world(shape=SHAPE, affine=AFFINE) -> np.ndarray:
    """(X, Y, Z, 3) mm."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def phantom(shape=SHAPE, affine=AFFINE) -> tuple[np.ndarray, np.ndarray]:
    """Whole grey levels 100..255 in an ellipsoid, different on every side of it, and its tissue labels."""
    place = world(shape, affine)
    x, y, z = np.moveaxis(place - world()[SHAPE[0] // 2, SHAPE[1] // 2, SHAPE[2] // 2], -1, 0)
    radius = np.sqrt((x / 24) ** 2 + (y / 30) ** 2 + (z / 22) ** 2)
    grey = np.rint(175 + 1.2 * x + 0.8 * y + 0.9 * z + 10 * np.sin(x / 5) * np.cos(y / 6))
    labels = np.select([radius < 0.3, radius < 0.7, radius < 1], [1, 3, 2], 0)
    return np.where(radius < 1, grey, 0), labels.astype(np.uint8)


def preprocess(**changes) -> Preprocess:
    """The phantom has 66 ml: a brain in miniature, which would be refused."""
    settings = {"spacing": 2.0, "axis": "axial", "size": (32, 32), "percentile": 99.5, "only_plausible": False}
    return Preprocess(**settings | changes)


def save(path: Path, data: np.ndarray, affine=AFFINE, *, dtype=np.float32, axes="RAS", slope=None, inter=0.0) -> Path:
    """Save with the voxels in the order `axes`, as `dtype`, with a scale slope."""
    data = np.asarray(data, np.float64)
    image = nibabel.Nifti1Image(data if slope is None else (data - inter) / slope, affine)
    target = nibabel.orientations.axcodes2ornt(axes)
    image = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), target))
    stored = np.asarray(image.dataobj)
    stored = np.rint(stored) if np.dtype(dtype).kind in "iu" else stored
    image = nibabel.Nifti1Image(stored.astype(dtype), image.affine)
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def scan_of(folder: Path, subject: str = "sub-01", *, age: float | None = 50.0, gain: float = 1.0) -> Scan:
    """A phantom subject on disk, with labels."""
    data, labels = phantom()
    image = save(folder / f"{subject}_T1w.nii.gz", data * gain)
    tissue = save(folder / f"{subject}_dseg.nii.gz", labels, dtype=np.uint8)
    return Scan(path=image, subject=subject, labels=tissue, age=age)


class Phantoms:
    """A source of phantom subjects, each with another grey level so that slices can be told apart."""

    def __init__(self, folder: Path, subjects: int) -> None:
        self.folder, self.subjects = folder, subjects

    def scans(self) -> list[Scan]:
        return [scan_of(self.folder, f"sub-{k:02d}", age=20.0 + k, gain=1 + k) for k in range(self.subjects)]


def volume_of(labels: bool = True, subject: str = "sub-01", axis: str = "axial") -> Volume:
    """A phantom Volume without files: random texture, tissue labels, 4 mm voxels."""
    generator = torch.Generator().manual_seed(5)
    data, tissue = phantom()
    mask = torch.from_numpy(data > 0)
    image = torch.where(mask, 0.2 + 0.8 * torch.rand(data.shape, generator=generator), 0)
    order = {"axial": (2, 0, 1), "sagittal": (0, 1, 2)}[axis]
    names = torch.from_numpy(tissue.astype(np.int16)).permute(order) if labels else None
    affine = AFFINE[:, [*order, 3]]
    scan = Scan(path=Path("none.nii.gz"), subject=subject)
    return Volume(scan, image.permute(order).contiguous(), mask.permute(order).contiguous(), names, affine, 100.0)
