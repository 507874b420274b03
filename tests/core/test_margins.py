"""What counts as harm."""

import math

import pytest

from harmony.core.margins import MARGINS, harmed, margin, of_harm
from harmony.core.vocabulary import RESULTS, direction


def test_every_metric_with_a_better_way_says_what_matters_and_no_other_does():
    assert {name for name in RESULTS if direction(name)} == set(MARGINS)


@pytest.mark.parametrize(
    ("metric", "value", "unharmonized", "answer"),
    [
        ("psnr", 29.6, 30.0, False), ("psnr", 29.4, 30.0, True), ("psnr", 31.0, 30.0, False),
        ("psnr", 34.9, 100.0, True), ("psnr", 35.1, 100.0, False), ("psnr_brain", 34.9, 100.0, True),
        ("psnr", 40.0, 45.0, True),  # untouched is a matter of the truth itself, not of being good
        ("ssim", 0.94, 1.0, True), ("ssim", 0.96, 1.0, False), ("ssim", 0.985, 0.99, False),
        ("dice", 0.894, 0.9, True), ("dice", 0.896, 0.9, False), ("dice_gm", 0.894, 0.9, True),
        ("hd95_wm", 2.6, 2.0, True), ("hd95_wm", 2.4, 2.0, False), ("age_error", 6.5, 5.0, True),
        ("missed", 1.0, 0.0, True), ("missed", 0.0, 0.0, False), ("missed", 0.0, 1.0, False),
        ("site_retrained", 0.56, 0.5, True), ("site_retrained", 0.54, 0.5, False),
        ("bpd", 9.0, 1.0, False), ("volume_gm_ml", 0.0, 700.0, False), ("unheard_of", 0.0, 1.0, False),
        ("dice", math.nan, 0.9, False),
    ],
)  # fmt: skip
def test_harm(metric, value, unharmonized, answer):
    assert harmed(metric, value, unharmonized) is answer


def test_words_of_harm():
    assert of_harm("dice") == "less Dice than unharmonized, by more than 0.005"
    assert of_harm("psnr") == "less PSNR than unharmonized, by more than 0.5 (below 35 where that is untouched)"
    assert of_harm("missed") == "more missed than unharmonized"
    assert margin("volume_gm_ml") is None
