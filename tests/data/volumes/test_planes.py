"""The same picture, however a file's axes lie; and the letters at the side where people have them."""

import itertools

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff

from harmony.data import three_planes
from harmony.data.volumes.planes import MARGIN_MM, towards

SHAPE, SPACING, ORIGIN = (20, 26, 22), np.array([3.1, 2.3, 2.7]), np.array([-31.0, -24.0, -27.0])
ORIENTATIONS = [
    np.array(list(zip(axes, flips, strict=True)))
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def head():
    """Right-left, back-front, bottom-top: bright at the left, in front, at the top, so that no two sides are alike."""
    place = np.indices(SHAPE) - (np.array(SHAPE) / 2 - 0.5)[:, None, None, None]
    mask = ((place / (np.array(SHAPE)[:, None, None, None] / 2.6)) ** 2).sum(0) < 1
    image = 100 - 4 * place[0] + 2 * place[1] + place[2]
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = ORIGIN
    return image, mask, affine


def pictures(image, mask, affine):
    return {plane.name: (plane.of(image, affine), plane.of(mask, affine, order=0) > 0, plane) for plane in
            three_planes(mask, affine)}  # fmt: skip


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_a_picture_does_not_depend_on_how_the_file_lies(orientation):
    image, mask, affine = head()
    turned = affine @ inv_ornt_aff(orientation, SHAPE)
    wanted = pictures(image, mask, affine)
    found = pictures(apply_orientation(image, orientation), apply_orientation(mask, orientation), turned)
    for name in wanted:
        assert np.allclose(found[name][0], wanted[name][0], atol=1e-2)
        assert (found[name][1] == wanted[name][1]).mean() > 0.995  # a pixel between two voxels may go to either


def test_left_is_left_and_the_front_and_the_top_are_above():
    image, mask, affine = head()
    for name, (seen, inside, plane) in pictures(image, mask, affine).items():
        rows, columns = seen.shape
        left, right = (
            seen[:, : columns // 2][inside[:, : columns // 2]],
            seen[:, columns // 2 :][inside[:, columns // 2 :]],
        )
        above, below = seen[: rows // 2][inside[: rows // 2]], seen[rows // 2 :][inside[rows // 2 :]]
        assert above.mean() > below.mean()
        if name == "sagittal":
            assert plane.ends == ("P", "A")
            assert left.mean() < right.mean()
            assert (plane.points[..., 0] < ORIGIN[0] + SPACING[0] * SHAPE[0] / 2).all()  # the left half of the head
        else:
            assert plane.ends == ("L", "R")
            assert left.mean() > right.mean()
            assert plane.points[0, 0, 0] < plane.points[0, -1, 0]


def test_each_plane_shows_the_whole_box_of_the_mask_and_what_is_around_it():
    image, mask, affine = head()
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1.0]])  # a head that lay askew
    askew = affine.copy()
    askew[:3] = turn @ affine[:3]
    assert np.allclose(towards(askew), turn)
    for matrix in (affine, askew):
        for _, inside, _plane in pictures(image, mask, matrix).values():
            assert inside.any()
            border = int(MARGIN_MM) - 3
            assert not inside[:border].any()
            assert not inside[:, :border].any()
            assert not inside[-border:].any()
            assert not inside[:, -border:].any()
            assert inside.any(0).sum() > 30
