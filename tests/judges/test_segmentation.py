"""The segmentation judge end to end, with a segmenter that reads the label off the grey level."""

import math

import numpy as np
import pytest
import torch

from harmony.core import DataError, Scan, Stack, Volume
from harmony.judges import Segmentation, Truth

STRUCTURES = {"csf": 1, "gm": 2}
SPACING = (4.0, 1.0, 2.0)
DIAGONAL = math.sqrt((2 * 4.0) ** 2 + 4.0**2 + (6 * 2.0) ** 2)


class GreyLevels(torch.nn.Module):
    """Grey level k/2 is class k."""

    def forward(self, image):
        return -100 * (image - torch.arange(3).view(1, 3, 1, 1) / 2).abs()


def stack(labels):
    return Stack(labels[:, None] / 2, torch.ones_like(labels[:, None], dtype=torch.bool), torch.zeros(len(labels)))


def maps(*boxes):
    """(2, 4, 6) zeros but for boxes of (slice, rows, columns, value)."""
    labels = torch.zeros(2, 4, 6)
    for k, rows, columns, value in boxes:
        labels[k, slice(*rows), slice(*columns)] = value
    return labels


def judge(batch=8):
    return Segmentation(segmenter=GreyLevels(), structures=STRUCTURES, batch=batch)


def score(predicted, true, **settings):
    return judge(**settings).score(stack(predicted), Truth("sub-1", SPACING, true.to(torch.int16), None))


def test_scores_by_hand():
    true = maps((0, (0, 2), (0, 2), 1), (1, (0, 1), (0, 3), 2))
    predicted = maps((0, (0, 2), (1, 3), 1), (1, (0, 1), (0, 3), 2))
    found = score(predicted, true)
    assert found["dice_csf"] == pytest.approx(2 * 2 / 8)
    assert found["iou_csf"] == pytest.approx(2 / 6)
    assert found["hd95_csf"] == pytest.approx(2.0)  # a column is 2 mm
    assert (found["dice_gm"], found["iou_gm"], found["hd95_gm"]) == (1, 1, 0)
    assert found["dice"] == pytest.approx(0.75)
    assert found["hd95"] == pytest.approx(1.0)
    assert found["volume_csf_ml"] == pytest.approx(4 * 8 / 1000)
    assert found["volume_gm_ml"] == pytest.approx(3 * 8 / 1000)
    assert (found["missed"], found["invented"], found["absent"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("in_truth", "in_image", "dice", "counted"),
    [
        (True, True, 1.0, None),
        (True, False, 0.0, "missed"),
        (False, True, 0.0, "invented"),
        (False, False, None, "absent"),
    ],
)
def test_the_four_empty_cases_end_to_end(in_truth, in_image, dice, counted):
    box, always = (0, (0, 2), (0, 2), 1), (1, (2, 4), (2, 5), 2)
    true, predicted = (maps(always, *([box] if there else [])) for there in (in_truth, in_image))
    found = score(predicted, true)
    assert {name: found[name] for name in ("missed", "invented", "absent")} == {
        name: int(name == counted) for name in ("missed", "invented", "absent")
    }
    if dice is None:
        assert not {"dice_csf", "iou_csf", "hd95_csf"} & set(found)
        assert found["dice"] == 1  # of grey matter alone
    else:
        assert found["dice_csf"] == dice
        assert found["dice"] == (dice + 1) / 2
        assert found["hd95_csf"] == pytest.approx(0 if counted is None else DIAGONAL)
    assert found["volume_csf_ml"] == pytest.approx(4 * 8 / 1000 * in_image)


def test_nothing_there_and_nothing_found_has_counts_only():
    found = score(maps(), maps())
    assert found == {"volume_csf_ml": 0, "volume_gm_ml": 0, "missed": 0, "invented": 0, "absent": 2}


def test_batches_of_any_size_give_the_same():
    true = maps((0, (0, 2), (0, 2), 1), (1, (0, 1), (0, 3), 2))
    assert score(true, true, batch=1) == score(true, true)


def test_trivial_calls_the_whole_brain_the_largest_structure():
    true = maps((0, (0, 4), (0, 6), 2), (1, (0, 2), (0, 6), 1))  # 24 of grey matter, 12 of csf, 12 of neither
    truth = Truth("sub-1", SPACING, true.to(torch.int16), None)
    assert judge().trivial(stack(true), truth) == pytest.approx((0 + 2 * 24 / (24 + 48)) / 2)
    assert judge().trivial(stack(maps()), Truth("sub-1", SPACING, maps().short(), None)) is not None  # all invented


def test_without_labels_the_volumes_alone_are_scored():
    predicted = maps((0, (0, 2), (1, 3), 1), (1, (0, 1), (0, 3), 2))
    found = judge().score(stack(predicted), Truth("sub-1", SPACING, None, None))
    assert found == pytest.approx({"volume_csf_ml": 4 * 8 / 1000, "volume_gm_ml": 3 * 8 / 1000})


def test_without_labels_there_is_one_clear_error():
    with pytest.raises(DataError, match=r"sub-1.*data\.labels"):
        judge().trivial(stack(maps()), Truth("sub-1", SPACING, None, None))


def test_spacing_is_of_the_chosen_slices():
    affine = np.array([[0, 0, 3.0, 0], [0, 2.0, 0, 0], [-1.5, 0, 0, 0], [0, 0, 0, 1]])
    image = torch.rand(9, 4, 4)
    volume = Volume(Scan("x", "sub-1"), image, image > 0, None, affine, 1.0)
    assert volume.spacing(volume.select(3, 2)) == pytest.approx((3.0, 2.0, 3.0))
    assert volume.spacing(volume.select(1, 2)) == pytest.approx((1.5, 2.0, 3.0))
