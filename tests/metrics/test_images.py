"""Image metrics against hand-computed values."""

import numpy as np
import pytest
import torch

from harmony.analysis import bootstrap_mean
from harmony.metrics import jitter, psnr, ssim


def test_psnr_by_hand_over_the_stack_and_inside_the_brain():
    truth = torch.zeros(2, 1, 4, 4)
    image, mask = truth.clone(), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    image[0, 0, :2] = 0.1
    mask[0, 0, :2] = True
    assert psnr(image, truth) == pytest.approx(-10 * np.log10(0.01 / 4))
    assert psnr(image, truth, mask) == pytest.approx(20)


def test_psnr_of_equal_images_is_capped():
    x = torch.rand(2, 1, 4, 4)
    assert psnr(x, x) == 100


def test_ssim_is_one_for_itself_and_falls_with_noise():
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    noisy = (x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    assert ssim(x, x) == pytest.approx(1)
    assert 0 < ssim(noisy, x) < 0.95


def test_ssim_of_two_flat_images_is_the_luminance_term():
    a, b = torch.full((1, 1, 32, 32), 0.4), torch.full((1, 1, 32, 32), 0.6)
    c1 = 0.01**2
    assert ssim(a, b) == pytest.approx((2 * 0.24 + c1) / (0.16 + 0.36 + c1), abs=1e-6)


def test_ssim_inside_the_mask_ignores_the_rest():
    x = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    y, mask = x.clone(), torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    y[..., 40:] = 0
    mask[..., :24] = True
    assert ssim(y, x, mask) == pytest.approx(1)
    assert ssim(y, x) < 0.9


def test_jitter_by_hand():
    query = torch.zeros(3, 1, 2, 2)
    mask = torch.ones(3, 1, 2, 2, dtype=torch.bool)
    step = torch.tensor([0.0, 0.1, 0.0])[:, None, None, None].expand_as(query)
    assert jitter(query, query, mask) == 0
    assert jitter(query + 0.3, query, mask) == pytest.approx(0, abs=1e-4)
    assert jitter(query + step, query, mask) == pytest.approx(25.5)


def test_jitter_skips_slices_without_brain():
    query = torch.zeros(3, 1, 2, 2)
    mask = torch.ones(3, 1, 2, 2, dtype=torch.bool)
    mask[1] = False
    assert jitter(query + 0.1 * mask, query, mask) == pytest.approx(0, abs=1e-4)


def test_bootstrap_interval_brackets_the_mean_and_skips_nan():
    found = bootstrap_mean([1.0, 2.0, 3.0, np.nan])
    assert found.mean == 2
    assert found.subjects == 3
    assert 1 <= found.low < 2 < found.high <= 3
    assert bootstrap_mean([5.0]) == (5, 5, 5, 1)
    assert np.isnan(bootstrap_mean([]).mean)


def test_bootstrap_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [bootstrap_mean(rng.normal(size=40), draws=400) for _ in range(200)]
    hits = [interval.low <= 0 <= interval.high for interval in found]
    assert 0.88 < np.mean(hits) < 0.99
