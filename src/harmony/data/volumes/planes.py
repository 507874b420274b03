"""Three planes through a brain as people look at it, whatever the order and the directions of a file's axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel.orientations import io_orientation
from scipy.ndimage import map_coordinates

MARGIN_MM = 12.0  # around the mask, so that what it leaves out is in the picture
SIDE_MM = 1.0  # of a pixel
SAGITTAL = 0.35  # of the way from the left: in one hemisphere, as the midline has little of it


@dataclass(frozen=True)
class Plane:
    """name: axial, coronal, sagittal. ends: what lies at the picture's left and right edge, `L` and `R`, or `P` and `A`
    (back, front). points: (R, C, 3) where its pixels lie, world millimetres (RAS), rows from the top down."""

    name: str
    ends: tuple[str, str]
    points: np.ndarray

    def of(self, data: np.ndarray, affine: np.ndarray, order: int = 1) -> np.ndarray:
        """(R, C) an image (X, Y, Z) with its affine (4, 4) in this plane: linear, or of order 0 the nearest voxel. 0
        outside of it."""
        to_index = np.linalg.inv(affine)
        index = self.points @ to_index[:3, :3].T + to_index[:3, 3]
        return map_coordinates(np.asarray(data, np.float32), np.moveaxis(index, -1, 0), order=order, mode="constant")


def three_planes(mask: np.ndarray, affine: np.ndarray) -> list[Plane]:
    """Along the file's own axes, and so that each shows the mask's box. mask: (X, Y, Z) bool, of which one is true."""
    axes = towards(affine)
    low, high = _box(mask, affine, axes)
    middle = (low + high) / 2
    middle_left = middle.copy()
    middle_left[0] = low[0] + SAGITTAL * (high[0] - low[0])
    right, front, top = (np.arange(a - MARGIN_MM, b + MARGIN_MM, SIDE_MM) for a, b in zip(low, high, strict=True))
    sides = ("L", "R")
    return [
        Plane("axial", sides, _points(axes, middle, (1, front), (0, right))),
        Plane("coronal", sides, _points(axes, middle, (2, top), (0, right))),
        Plane("sagittal", ("P", "A"), _points(axes, middle_left, (2, top), (1, front))),
    ]


def towards(affine: np.ndarray) -> np.ndarray:
    """(3, 3) columns: unit vectors along the grid's axes that point to the right, the front, the top of the head."""
    axes = np.empty((3, 3))
    for step, (axis, sign) in zip(affine[:3, :3].T, io_orientation(affine), strict=True):
        axes[:, int(axis)] = sign * step / np.linalg.norm(step)
    return axes


def _box(mask: np.ndarray, affine: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest coordinates of the mask's voxels along `axes`, in mm."""
    others = ((1, 2), (0, 2), (0, 1))
    reach = np.array([np.flatnonzero(mask.any(each))[[0, -1]] for each in others])  # (3, 2)
    corners = np.linalg.solve(axes, affine[:3, :3] @ reach + affine[:3, 3:])
    return corners.min(1), corners.max(1)


def _points(
    axes: np.ndarray, middle: np.ndarray, rows: tuple[int, np.ndarray], columns: tuple[int, np.ndarray]
) -> np.ndarray:
    """(R, C, 3) world points. rows, columns: the axis that they run along, and the ascending coordinates on it."""
    place = np.tile(middle, (len(rows[1]), len(columns[1]), 1))
    place[..., rows[0]] = rows[1][::-1, None]  # the front, and the top, above
    place[..., columns[0]] = columns[1]
    return place @ axes.T
