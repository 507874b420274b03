"""A file's grid and the model's: as MONAI has them, and no place moves."""

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientation, Spacing

from harmony.data.volumes.grid import ModelGrid, places

ANGLE = 0.2
TURNED = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
SHAPE = (23, 19, 17)
AFFINES = {
    "finer": np.diag([1.0, 1.0, 1.3]),
    "coarser": np.diag([2.9, 2.3, 4.1]),
    "oblique": TURNED @ np.diag([1.1, 0.9, 2.3]),
    "LPS": np.diag([-1.1, -1.3, 1.7]),
    "PIR": np.array([[0, 0, 1.1], [-1.3, 0, 0], [0, -0.9, 0]]),
}


def affine_of(name):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = AFFINES[name], [-40.0, 12.0, 31.0]
    return affine


@pytest.mark.parametrize("name", AFFINES)
def test_monai_gives_the_same(name):
    """Voxels, shape and affine; but for the low-pass before a coarser grid, and for labels off any tie."""
    affine, rng = affine_of(name), np.random.default_rng(0)
    data, labels = rng.random(SHAPE, np.float32), rng.integers(0, 9, SHAPE)
    grid = ModelGrid(SHAPE, affine, 1.0)  # no axis that is finer by 1.2

    def monai(values, mode):
        steps = [Orientation("RAS", labels=None), Spacing((1.0,) * 3, mode=mode, padding_mode="border", dtype=float)]
        return Compose(steps)(MetaTensor(torch.from_numpy(values)[None].double(), affine=torch.from_numpy(affine)))

    theirs = monai(data, "bilinear")
    assert grid.shape == theirs.shape[1:]
    assert np.allclose(grid.affine, theirs.affine, atol=1e-9)
    assert np.allclose(grid.linear(data), theirs[0].numpy(), atol=1e-5)
    assert np.array_equal(grid.nearest(labels), monai(labels, "nearest")[0].numpy())


@pytest.mark.parametrize("name", AFFINES)
def test_a_place_keeps_its_value(name):
    """An image that is linear in space is predicted at every voxel; where axes are sheared, too."""
    slope, straight = np.array([0.3, -0.2, 0.5]), affine_of(name)
    for shear in (0.0, 0.1, -0.1):
        affine = straight.copy()
        affine[:3, :3] = straight[:3, :3] @ (np.eye(3) + shear * np.eye(3, k=1))
        voxels = np.indices(SHAPE).reshape(3, -1)
        ramp = (slope @ (affine[:3, :3] @ voxels + affine[:3, 3:])).reshape(SHAPE)
        grid = ModelGrid(SHAPE, affine, 1.5)
        at = np.indices(grid.shape).reshape(3, -1)
        source = places(affine, at.T, grid.affine)
        core = ((source > 4) & (source < np.array(SHAPE)[:, None] - 5)).all(0)  # 4: the low-pass and its edge
        expected = slope @ (grid.affine[:3, :3] @ at + grid.affine[:3, 3:])
        assert core.sum() > 50
        assert np.allclose(grid.linear(ramp).ravel()[core], expected[core], atol=1e-4)
        assert np.allclose(grid.affine[:3, :3].T @ grid.affine[:3, :3], 1.5**2 * np.eye(3), atol=1e-9)
        corners = places(grid.affine, np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(SHAPE) - 1), affine)
        assert corners.min() > -1e-6
        assert (corners < np.array(grid.shape)[:, None] - 0.5 + 1e-6).all()


def test_a_mask_does_not_move_where_new_voxels_lie_halfway():
    """0.8 mm to 2 mm: every second new voxel lies halfway between two old ones."""
    affine = np.diag([0.8, 0.8, 0.8, 1]).astype(np.float32).astype(np.float64)  # as a header holds it
    mask = np.zeros((101, 101, 101), np.uint8)
    centre, radius = np.array([48.0, 51.0, 53.0]), 37.3
    mask[(np.square(np.indices(mask.shape) - centre[:, None, None, None]).sum(0)) < radius**2] = 1
    grid = ModelGrid(mask.shape, affine, 2.0)
    new = np.argwhere(grid.nearest(mask)).mean(0) * 2.0
    assert np.allclose(new, 0.8 * centre, atol=0.05)


def test_a_grid_that_is_kept_is_only_turned():
    affine, data = np.diag([-2.0, 2.0, 2.0005, 1.0]), np.arange(60.0).reshape(3, 4, 5)
    grid = ModelGrid(data.shape, affine, 2.0)
    assert np.array_equal(grid.linear(data), data[::-1])
    assert np.array_equal(grid.nearest(data), data[::-1])
    assert np.allclose(grid.affine, nibabel.as_closest_canonical(nibabel.Nifti1Image(data, affine)).affine)
