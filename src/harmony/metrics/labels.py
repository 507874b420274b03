"""Scores of label maps: overlap, surface distance in millimetres, volumes, lesion contrast.

Label maps are integer volumes (S, H, W), numpy or torch; spacing is the voxel size in millimetres along each axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree
from torch import Tensor

Array = NDArray | Tensor
Outcome = Literal["found", "missed", "invented", "absent"]


@dataclass(frozen=True)
class StructureScore:
    """How well one structure of one volume was found.

    | in truth | in prediction | outcome    | dice, iou        | hd95                  |
    |----------|---------------|------------|------------------|-----------------------|
    | yes      | yes           | "found"    | in [0, 1]        | mm                    |
    | yes      | no            | "missed"   | 0                | image diagonal, in mm |
    | no       | yes           | "invented" | 0                | image diagonal, in mm |
    | no       | no            | "absent"   | nan, not counted | nan, not counted      |
    """

    outcome: Outcome
    dice: float
    iou: float
    hd95: float


@dataclass(frozen=True)
class LabelScores:
    """Scores by label value; the means are over every structure that is not absent, nan where all are."""

    structures: dict[int, StructureScore]

    def count(self, outcome: Outcome) -> int:
        return sum(score.outcome == outcome for score in self.structures.values())

    @property
    def dice(self) -> float:
        return _mean(score.dice for score in self.structures.values())

    @property
    def iou(self) -> float:
        return _mean(score.iou for score in self.structures.values())

    @property
    def hd95(self) -> float:
        return _mean(score.hd95 for score in self.structures.values())


def score_labels(truth: Array, prediction: Array, *, classes: Iterable[int], spacing: Sequence[float]) -> LabelScores:
    """Dice, IoU and HD95 of each label value in `classes`."""
    true, predicted = np.asarray(truth), np.asarray(prediction)
    if true.shape != predicted.shape:
        raise ValueError(f"truth {true.shape} and prediction {predicted.shape} differ in shape")
    return LabelScores({c: score_structure(true == c, predicted == c, spacing=spacing) for c in classes})


def score_structure(truth: Array, prediction: Array, *, spacing: Sequence[float]) -> StructureScore:
    """Scores of one structure, given as two boolean volumes."""
    true, predicted = np.asarray(truth, bool), np.asarray(prediction, bool)
    if not true.any() and not predicted.any():
        return StructureScore("absent", np.nan, np.nan, np.nan)
    if not (true.any() and predicted.any()):
        outcome: Outcome = "missed" if true.any() else "invented"
        return StructureScore(outcome, 0.0, 0.0, image_diagonal(true.shape, spacing))
    iou = int((true & predicted).sum()) / int((true | predicted).sum())
    return StructureScore("found", dice(true, predicted), iou, hausdorff95(true, predicted, spacing))


def dice(truth: Array, prediction: Array) -> float:
    """2 |truth and prediction| / (|truth| + |prediction|) of two boolean arrays; nan where both are empty."""
    true, predicted = np.asarray(truth, bool), np.asarray(prediction, bool)
    size = int(true.sum()) + int(predicted.sum())
    return 2 * int((true & predicted).sum()) / size if size else float("nan")


def mean_dice(truth: Array, prediction: Array, *, classes: Iterable[int]) -> float:
    """Mean Dice of the label values in `classes` that occur in truth or prediction; nan where none does."""
    true, predicted = np.asarray(truth), np.asarray(prediction)
    return _mean(dice(true == c, predicted == c) for c in classes)


def hausdorff95(a: NDArray[np.bool_], b: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """The larger of the 95th percentiles of the distances (mm) from the surface of a to that of b, and back.

    The surface is the voxels with a face neighbour outside the structure or at the image's edge. Neither may be empty.
    """
    box = ndimage.find_objects((a | b).astype(np.int8))[0]  # every surface voxel is inside, so no distance changes
    surface_a, surface_b = _surface(a[box]), _surface(b[box])
    return max(_directed95(surface_a, surface_b, spacing), _directed95(surface_b, surface_a, spacing))


def image_diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Length of the image's diagonal in mm, outer edge to outer edge: no surface distance can be larger."""
    return float(np.linalg.norm(np.multiply(shape, spacing)))


def tissue_volumes(labels: Array, *, classes: Iterable[int], spacing: Sequence[float]) -> dict[int, float]:
    """Millilitres of each label value in `classes`."""
    values = np.asarray(labels)
    return {c: int((values == c).sum()) * float(np.prod(spacing)) / 1000 for c in classes}


def white_surroundings(
    image: Array, lesions: Array, brain: Array, *, spacing: Sequence[float], ring_mm: float
) -> NDArray[np.bool_]:
    """The white matter around lesions, where no tissue map tells: the brighter half of their rim in a T1 image.

    The rim is the voxels of `brain` outside every lesion and within `ring_mm` of one (`spacing`: mm); its brighter half
    those at or above its median in `image`, of which the noise is first taken by a 3 x 3 median in each slice: else
    the brightest noise would be picked, and any smoothing of the image would look like lesions fading. Empty where
    there is no lesion.
    """
    lesion = np.asarray(lesions, bool)
    rim = np.zeros_like(lesion)
    if lesion.any():
        near = ndimage.distance_transform_edt(~lesion, sampling=spacing) <= ring_mm
        rim = near & np.asarray(brain, bool) & ~lesion
    intensity = ndimage.median_filter(np.asarray(image), size=(1, 3, 3))
    return rim & (intensity >= np.median(intensity[rim])) if rim.any() else rim


def lesion_contrast(image: Array, lesions: Array, surroundings: Array) -> float:
    """(mean lesion - mean surroundings) / mean surroundings: negative for lesions that are darker.

    nan where there is no lesion, or nothing around it.
    """
    intensity, lesion, around = np.asarray(image, np.float64), np.asarray(lesions, bool), np.asarray(surroundings, bool)
    if not lesion.any() or not around.any():
        return float("nan")
    surround = intensity[around].mean()
    return float((intensity[lesion].mean() - surround) / surround) if surround else float("nan")


def _surface(structure: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return structure & ~ndimage.binary_erosion(structure)  # face neighbours; outside the array counts as outside


def _directed95(start: NDArray[np.bool_], end: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    here, there = (np.multiply(np.argwhere(surface), spacing) for surface in (start, end))
    distance, _ = KDTree(there).query(here)
    return float(np.percentile(distance, 95))


def _mean(values: Iterable[float]) -> float:
    counted = [value for value in values if not np.isnan(value)]
    return float(np.mean(counted)) if counted else float("nan")
