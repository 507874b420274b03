"""The log-Jacobian of an intensity curve against closed forms, and the collapse that it prevents."""

import math

import pytest
import torch

from harmony.methods.jacobian import curve_log_jacobian


@pytest.fixture
def image():
    return torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def mask(image):
    mask = torch.zeros_like(image, dtype=torch.bool)
    mask[..., :32] = True
    return mask


@pytest.mark.parametrize(("gain", "offset"), [(1, 0), (0.5, 0), (0.5, 0.3), (2, -0.1)])
def test_of_a_line_it_is_the_gain_times_the_share_of_the_brain(image, mask, gain, offset):
    found = curve_log_jacobian(image, gain * image + offset, mask)
    assert found.item() == pytest.approx(0.5 * math.log2(gain), abs=1e-9)


def test_of_a_smooth_curve_it_is_the_mean_log_slope(image, mask):
    found = curve_log_jacobian(image, (image + image**2) / 2, mask)
    expected = (torch.linspace(0.5, 1.5, 100_001).log2()).mean().item() / 2  # half of the pixels
    assert found.item() == pytest.approx(expected, abs=0.006)


def test_noise_about_the_curve_does_not_count_but_squeezing_does(image, mask):
    noise = 0.02 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert abs(curve_log_jacobian(image, image + noise, mask).item()) < 0.01
    assert curve_log_jacobian(image, 0.1 * image + 0.5 + 0.01 * noise, mask).item() < -1.5


def test_a_flat_output_is_finite_with_a_finite_gradient(image, mask):
    output = torch.full_like(image, 0.4).requires_grad_()
    value = curve_log_jacobian(image, output, mask)
    value.backward()
    assert value.item() < -4
    assert output.grad.isfinite().all()


def test_an_empty_brain_costs_nothing(image):
    assert curve_log_jacobian(image, image, torch.zeros_like(image, dtype=torch.bool)).item() == 0


def test_its_gradient_meets_finite_differences(image, mask):
    small, inside = image[:1, :, :8, :8].clone(), torch.ones(1, 1, 8, 8, dtype=torch.bool)
    gain = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: curve_log_jacobian(small, (g * small).sin(), inside), gain)
