"""What the picture of a result shows: the files themselves, before and after, and the reference at the same place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harmony.core import Volume
from harmony.core.reference import Reference
from harmony.core.unlike import on_size
from harmony.data import three_planes
from harmony.delivery.promise import Promise

BINS = 48


def draw(path: Path, promise: Promise, data: np.ndarray, image: Tensor, reference: Reference | None) -> None:
    """The picture of a result. data: (X, Y, Z) as it is written, in the promise's unit. image: (S, H, W) the harmonized
    slices. reference: of which the mean brain and the histogram are shown beside; None where nothing is known."""
    from harmony.reports import PlanePicture, before_after_figure  # draws: imported where a page is wanted

    affine, volume = promise.native.affine, promise.volume
    mean = None if reference is None else mean_brain(reference, volume)
    planes = [
        PlanePicture(
            ends=plane.ends if promise.native.oriented else (f"{plane.ends[0]}?", f"{plane.ends[1]}?"),
            before=(plane.of(promise.untouched, affine) - promise.unit.zero) / promise.unit.one,
            after=(plane.of(data, affine) - promise.unit.zero) / promise.unit.one,
            mask=plane.of(promise.brain, affine, order=0) > 0,
            reference=None if mean is None else plane.of(mean, volume.affine),
        )
        for plane in three_planes(promise.brain, affine)
    ]
    before_after_figure(path, planes, histograms(volume, image, reference))


def mean_brain(reference: Reference, volume: Volume) -> np.ndarray:
    """(S, H, W) the mean reference brain on the volume's grid: slice by slice, as far along the brain's box."""
    position = torch.linspace(0, 1, len(volume.image))
    return on_size(reference.start(position), volume.image.shape[1:])[:, 0].numpy()


def histograms(volume: Volume, image: Tensor, reference: Reference | None) -> dict[str, np.ndarray]:
    """(BINS,) shares of the brain's voxels, of the scan before and after and of the reference's scans."""
    values = {"before": volume.image[volume.mask], "after": image[volume.mask]}
    if reference is not None:
        values["reference"] = reference.pooled(torch.linspace(0, 1, len(image)))
    counts = {name: np.histogram(each.numpy(), bins=BINS, range=(0, 1))[0] for name, each in values.items()}
    return {name: each / max(each.sum(), 1) for name, each in counts.items()}
