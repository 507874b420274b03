import itertools
import math

import numpy as np
import pytest
import torch

from harmony.metrics.labels import (
    image_diagonal,
    lesion_contrast,
    score_labels,
    score_structure,
    tissue_volumes,
    white_surroundings,
)

SPACING = (2.0, 1.0, 0.5)
DIAGONAL = math.sqrt((4 * 2.0) ** 2 + (6 * 1.0) ** 2 + (8 * 0.5) ** 2)


def box(*corners: tuple[int, int], shape: tuple[int, int, int] = (4, 6, 8)) -> np.ndarray:
    volume = np.zeros(shape, bool)
    volume[tuple(slice(a, b) for a, b in corners)] = True
    return volume


def test_overlap_by_hand() -> None:
    truth, prediction = box((0, 2), (0, 2), (0, 2)), box((0, 2), (0, 2), (1, 4))  # 8 and 12 voxels, 4 shared
    score = score_structure(truth, prediction, spacing=SPACING)
    assert score.outcome == "found"
    assert score.dice == pytest.approx(8 / 20)
    assert score.iou == pytest.approx(4 / 16)


def test_distance_by_hand_is_in_millimetres_along_each_axis() -> None:
    point = box((1, 2), (1, 2), (1, 2))
    for axis, expected in enumerate(SPACING):
        moved = np.roll(point, 2, axis)
        assert score_structure(point, moved, spacing=SPACING).hd95 == pytest.approx(2 * expected)
    assert score_structure(point, point, spacing=SPACING).hd95 == 0


def test_distance_is_the_larger_direction() -> None:
    small, large = box((0, 1), (0, 1), (0, 1)), box((0, 1), (0, 1), (0, 8))
    expected = 0.5 * np.percentile(np.arange(8), 95)  # the far end of the large one; the small one is covered
    assert score_structure(small, large, spacing=SPACING).hd95 == pytest.approx(expected)
    assert score_structure(large, small, spacing=SPACING).hd95 == pytest.approx(expected)


def test_four_empty_cases() -> None:
    full, empty = box((0, 1), (0, 1), (0, 1)), np.zeros((4, 6, 8), bool)
    assert score_structure(full, full, spacing=SPACING).outcome == "found"
    for truth, prediction, outcome in ((full, empty, "missed"), (empty, full, "invented")):
        score = score_structure(truth, prediction, spacing=SPACING)
        assert (score.outcome, score.dice, score.iou) == (outcome, 0, 0)
        assert score.hd95 == pytest.approx(DIAGONAL)
    absent = score_structure(empty, empty, spacing=SPACING)
    assert absent.outcome == "absent"
    assert all(math.isnan(value) for value in (absent.dice, absent.iou, absent.hd95))


def test_means_count_a_miss_and_leave_out_the_absent() -> None:
    truth = 1 * box((0, 1), (0, 1), (0, 1)) + 2 * box((2, 3), (2, 3), (2, 3))
    prediction = 1 * box((0, 1), (0, 1), (0, 1)) + 3 * box((3, 4), (3, 4), (3, 4))
    scores = score_labels(truth, prediction, classes=(1, 2, 3, 4), spacing=SPACING)
    assert [scores.count(o) for o in ("found", "missed", "invented", "absent")] == [1, 1, 1, 1]
    assert scores.dice == pytest.approx(1 / 3)
    assert scores.iou == pytest.approx(1 / 3)
    assert scores.hd95 == pytest.approx(2 * DIAGONAL / 3)
    assert math.isnan(score_labels(truth, prediction, classes=(4,), spacing=SPACING).dice)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        score_labels(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)), classes=(1,), spacing=SPACING)


def brute_force_hd95(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> float:
    """All pairs of surface voxels, the surface found by looking at the six neighbours of each voxel."""

    def surface(volume: np.ndarray) -> np.ndarray:
        steps = [step for step in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, step)) == 1]

        def inside(p: np.ndarray) -> bool:
            return all(0 <= i < n for i, n in zip(p, volume.shape, strict=True)) and bool(volume[tuple(p)])

        points = [p for p in np.argwhere(volume) if not all(inside(p + np.array(step)) for step in steps)]
        return np.array(points) * spacing

    pairs = np.linalg.norm(surface(a)[:, None] - surface(b)[None], axis=-1)
    return max(float(np.percentile(pairs.min(axis), 95)) for axis in (0, 1))


@pytest.mark.parametrize("seed", range(6))
def test_against_brute_force_on_random_maps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spacing = tuple(rng.uniform(0.4, 3, 3))
    coarse = rng.integers(0, 3, (2, 3, 4, 3))  # blobs of 3 voxels, so that some voxels are interior
    truth, prediction = (np.kron(c, np.ones((3, 3, 3), int)) for c in coarse)
    flipped = rng.random(prediction.shape) < 0.1
    prediction = np.where(flipped, rng.integers(0, 3, prediction.shape), prediction)
    scores = score_labels(torch.from_numpy(truth), torch.from_numpy(prediction), classes=(1, 2), spacing=spacing)
    for c, score in scores.structures.items():
        a, b = truth == c, prediction == c
        assert score.hd95 == pytest.approx(brute_force_hd95(a, b, spacing))
        first, second = ({tuple(p) for p in np.argwhere(volume)} for volume in (a, b))
        assert score.dice == pytest.approx(2 * len(first & second) / (len(first) + len(second)))
        assert score.iou == pytest.approx(len(first & second) / len(first | second))


def test_diagonal_bounds_the_distance() -> None:
    corner, opposite = box((0, 1), (0, 1), (0, 1)), box((3, 4), (5, 6), (7, 8))
    assert score_structure(corner, opposite, spacing=SPACING).hd95 < image_diagonal(corner.shape, SPACING)


def test_tissue_volumes_in_millilitres() -> None:
    labels = np.zeros((10, 10, 20), int)
    labels[:5] = 1
    assert tissue_volumes(labels, classes=(1, 2), spacing=(1, 2, 0.5)) == {1: 1.0, 2: 0.0}


def test_lesion_contrast_by_hand() -> None:
    image, lesions, brain = np.zeros((1, 1, 9)), np.zeros((1, 1, 9), bool), np.ones((1, 1, 9), bool)
    image[0, 0] = [9, 9, 2, 4, 1, 7, 6, 9, 9]
    lesions[0, 0, 4] = True
    brain[0, 0, 3] = False
    white = white_surroundings(image, lesions, brain, spacing=(1, 1, 1), ring_mm=2)  # rim 2, 7, 6: median 6
    assert np.flatnonzero(white).tolist() == [5, 6]
    assert lesion_contrast(image, lesions, white) == pytest.approx((1 - 6.5) / 6.5)
    assert lesion_contrast(2 * image, lesions, white) == pytest.approx((1 - 6.5) / 6.5)
    near = white_surroundings(image, lesions, brain, spacing=(1, 1, 2), ring_mm=2)
    assert np.flatnonzero(near).tolist() == [5]  # a voxel is 2 mm now


def test_noise_in_the_query_does_not_choose_its_own_brightest_voxels() -> None:
    """Lesions of 0.8 in white matter of 1.0: without the median the contrast is -0.225."""
    true = np.full((20, 64, 64), 1.0)
    lesions = np.zeros(true.shape, bool)
    lesions[8:12, 20:44, 30:34] = True
    true[lesions] = 0.8
    noisy = true + np.random.default_rng(0).normal(0, 0.04, true.shape)
    white = white_surroundings(noisy, lesions, np.ones(true.shape, bool), spacing=(1, 1, 1), ring_mm=4)
    assert lesion_contrast(true, lesions, white) == pytest.approx(-0.2, abs=0.002)
    assert lesion_contrast(noisy, lesions, white) == pytest.approx(-0.2, abs=0.012)


def test_lesion_contrast_without_lesion_or_surroundings() -> None:
    image, none, all_ = np.ones((1, 1, 4)), np.zeros((1, 1, 4), bool), np.ones((1, 1, 4), bool)
    for lesions in (none, all_):
        white = white_surroundings(image, lesions, all_, spacing=(1, 1, 1), ring_mm=2)
        assert not white.any()
        assert math.isnan(lesion_contrast(image, lesions, white))
    assert math.isnan(lesion_contrast(image, none, all_))
    assert math.isnan(lesion_contrast(0 * image, all_, all_))
