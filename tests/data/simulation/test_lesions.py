"""Lesions that the tissue network is shown."""

import pytest
import torch

from harmony.data import Lesions

IMAGE = torch.full((12, 40, 40), 0.8)
WHITE = torch.zeros(12, 40, 40, dtype=torch.bool)
WHITE[1:-1, 4:-4, 4:-4] = True


def made(seed=0, **changes):
    settings = {"probability": 1.0, "share": 0.1, "depth": (0.3, 0.3), "grain": (3.0, 3.0)} | changes
    return Lesions(**settings).into(IMAGE, WHITE, torch.Generator().manual_seed(seed))


def test_spots_are_darker_as_deep_as_said_and_nowhere_but_in_their_tissue():
    image = made()
    dark = image < IMAGE
    assert dark.any()
    assert not dark[~WHITE].any()
    assert (image >= 0.7 * IMAGE - 1e-6).all()
    assert image.min() == pytest.approx(0.7 * 0.8, abs=1e-3)
    assert torch.equal(image, made())
    assert not torch.equal(image, made(1))


def test_they_are_no_more_of_the_tissue_than_said():
    shares = [float((made(seed) < IMAGE)[WHITE].float().mean()) for seed in range(20)]
    assert max(shares) <= 0.1 + 1e-3
    assert max(shares) > 0.06
    assert min(shares) < 0.04


def test_a_coarser_grain_makes_fewer_and_larger_spots():
    def borders(grain):
        dark = (made(3, grain=(grain, grain)) < IMAGE).float()
        return float(dark.diff(dim=2).abs().sum() / dark.sum())

    assert borders(8.0) < 0.7 * borders(2.0)


def test_without_any_the_image_is_itself():
    assert made(probability=0.0) is IMAGE
    empty = torch.zeros_like(WHITE)
    generator = torch.Generator().manual_seed(0)
    lesions = Lesions(probability=1.0, share=0.1, depth=(0.3, 0.3), grain=(3.0, 3.0))
    assert lesions.into(IMAGE, empty, generator) is IMAGE


def test_as_much_is_drawn_with_and_without_them():
    """What is drawn after them, a scanner, is the same."""
    after = []
    for probability in (0.0, 1.0):
        generator = torch.Generator().manual_seed(0)
        Lesions(probability=probability, share=0.1, depth=(0.3, 0.3), grain=(3.0, 3.0)).into(IMAGE, WHITE, generator)
        after.append(float(torch.rand((), generator=generator)))
    assert after[0] == after[1]
