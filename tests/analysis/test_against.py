"""Paired comparisons and shares against answers worked out by hand."""

import math

import numpy as np
import pytest

from harmony.analysis import against, holm, recovered
from harmony.analysis.biology import slope
from harmony.core.vocabulary import direction


@pytest.mark.parametrize(
    ("metric", "sign"),
    [
        ("psnr_brain", 1), ("ssim", 1), ("dice", 1), ("dice_csf", 1), ("iou_wm", 1),
        ("hd95_gm", -1), ("age_error", -1), ("missed", -1), ("invented", -1), ("site_frozen", -1),
        ("age_signed_error", 0), ("age_predicted", 0), ("volume_gm_ml", 0), ("bpd", 0), ("seconds", 0), ("absent", 0),
    ],
)  # fmt: skip
def test_which_way_is_better(metric, sign):
    assert direction(metric) == sign


def test_difference_and_harm_by_hand():
    none, method = {"a": 1.0, "b": 2.0, "c": 3.0, "x": 9.0}, {"a": 2.0, "b": 1.5, "c": 3.0, "y": 7.0}
    found = against("dice", method, none)
    assert found.difference.mean == pytest.approx(0.5 / 3)
    assert found.difference.subjects == 3
    assert (found.harmed, found.worse) == (1, pytest.approx(1 / 3))  # b; c is as it was
    assert against("hd95", method, none).worse == pytest.approx(1 / 3)  # a
    assert against("dice", {"a": 0.896, "b": 0.894}, {"a": 0.9, "b": 0.9}).harmed == 1  # by more than 0.005
    assert against("bpd", method, none) is None
    assert against("dice", method, {"z": 1.0}) is None


def test_share_of_the_loss_that_came_back_by_hand():
    reference, none = {"a": 0.9, "b": 0.8}, {"a": 0.7, "b": 0.7}
    share = recovered({"a": 0.8, "b": 0.8}, none, reference)
    assert share.mean == pytest.approx(0.2 / 0.3)
    assert not share.known  # of two subjects
    assert recovered(none, none, reference).mean == 0
    three = {"a": 0.9, "b": 0.8, "c": 0.85}, dict.fromkeys("abc", 0.7)
    assert recovered(three[0], three[1], three[0]) == (1.0, pytest.approx(1.0), pytest.approx(1.0), 3)
    assert recovered({"a": 0.5, "b": 0.7}, none, reference).mean < 0


def test_where_nothing_was_lost_there_is_no_share():
    assert recovered({"a": 0.9}, {"a": 0.895}, {"a": 0.9}) is None
    assert recovered({"a": 0.9}, {"a": 0.95}, {"a": 0.9}) is None
    assert recovered({"a": 0.9}, {"b": 0.5}, {"a": 0.9}) is None
    assert recovered({"a": float("nan")}, {"a": 0.5}, {"a": 0.9}) is None


def test_the_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    lost = rng.uniform(0.1, 0.2, 40)
    won = 0.4 * lost + rng.normal(0, 0.01, 40)
    names = [str(k) for k in range(40)]
    share = recovered(
        dict(zip(names, won, strict=True)), dict.fromkeys(names, 0.0), dict(zip(names, lost, strict=True))
    )
    assert share.low < 0.4 < share.high
    assert share.high - share.low < 0.1


def test_slope_by_hand():
    assert slope([1, 2, 3], [2, 4, 6]) == pytest.approx(2)
    assert slope([1, 2], [2, 4]) is None
    assert slope([1, 1, 1], [2, 4, 5]) is None


def test_a_paired_comparison_uses_the_subjects_that_both_have():
    found = against("psnr", {"a": 3.0, "b": 5.0, "c": 9.0}, {"a": 1.0, "b": 2.0, "d": 0.0})
    assert found.difference.mean == 2.5
    assert found.difference.subjects == 2
    assert not found.difference.known  # of two subjects


@pytest.mark.parametrize("n", [3, 5, 8])
def test_all_subjects_better_gives_the_smallest_p_there_is(n):
    after = {str(k): float(k + 1) for k in range(n)}
    found = against("psnr", after, dict.fromkeys(after, 0.0))
    assert found.p == pytest.approx(2 / 2**n)
    assert against("psnr", dict.fromkeys(after, 0.0), after).p == pytest.approx(2 / 2**n)
    assert against("psnr", dict.fromkeys(after, 0.0), after).difference.mean == -found.difference.mean


def test_no_difference_is_no_evidence():
    same = {"a": 1.0, "b": 2.0}
    assert against("psnr", same, same).p == 1.0
    assert against("psnr", same | {"c": 3.0}, same | {"c": 3.0}).difference == (0, 0, 0, 3)


def test_zero_and_missing_differences_do_not_count_as_evidence():
    base = dict.fromkeys("abcd", 0.0)
    assert against("psnr", {"a": 1.0, "b": 2.0, "c": 3.0, "d": 0.0}, base).p == pytest.approx(0.25)
    assert against("psnr", {"a": 1.0, "b": 2.0, "c": 3.0, "d": math.nan}, base).p == pytest.approx(0.25)


def test_holm_is_the_textbook_example():
    """Four tests: 0.005 x 4, 0.01 x 3, then 0.03 x 2, and 0.04 x 1 raised to it; the order of input is kept."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
