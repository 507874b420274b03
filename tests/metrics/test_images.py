"""Image metrics against hand-computed values."""

import numpy as np
import pytest
import torch

from harmony.metrics import jitter, psnr, ssim_map


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
    assert psnr(x, x + 1e-7) == 100


def test_psnr_of_what_is_no_number_is_none():
    x = torch.rand(2, 1, 4, 4)
    assert np.isnan(psnr(torch.where(x > 0.5, x, torch.nan), x))


def test_ssim_is_one_for_itself_and_falls_with_noise():
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    noisy = (x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    assert ssim_map(x, x).mean().item() == pytest.approx(1)
    assert 0 < ssim_map(noisy, x).mean() < 0.95


def test_ssim_of_two_flat_images_is_the_luminance_term():
    a, b = torch.full((1, 1, 32, 32), 0.4), torch.full((1, 1, 32, 32), 0.6)
    c1 = 0.01**2
    assert ssim_map(a, b).mean().item() == pytest.approx((2 * 0.24 + c1) / (0.16 + 0.36 + c1), abs=1e-6)


def test_ssim_by_hand_at_one_pixel():
    """Weighted means, variances and covariance under the window of Wang et al., over its weights and not over n - 1."""
    x = torch.rand(1, 1, 11, 11, generator=torch.Generator().manual_seed(0)).double()
    y = torch.rand(1, 1, 11, 11, generator=torch.Generator().manual_seed(1)).double()
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights = np.outer(window, window) / window.sum() ** 2
    a, b = x[0, 0].numpy(), y[0, 0].numpy()
    m_a, m_b = (weights * a).sum(), (weights * b).sum()
    v_a, v_b = (weights * (a - m_a) ** 2).sum(), (weights * (b - m_b) ** 2).sum()
    covariance = (weights * (a - m_a) * (b - m_b)).sum()
    luminance = (2 * m_a * m_b + 0.01**2) / (m_a**2 + m_b**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (v_a + v_b + 0.03**2)
    assert ssim_map(x, y)[0, 0, 5, 5].item() == pytest.approx(luminance * structure, rel=1e-6)


def test_ssim_inside_the_mask_ignores_the_rest():
    x = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    y, mask = x.clone(), torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    y[..., 40:] = 0
    mask[..., :24] = True
    assert ssim_map(y, x)[mask].mean().item() == pytest.approx(1)
    assert ssim_map(y, x).mean() < 0.9


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
