"""Bits per dimension against a value worked out by hand, and the dequantization's promises."""

import math

import pytest
import torch
from flow_cases import FLOWS
from nflows.transforms import IdentityTransform

from harmony.flows import ImageDensity
from harmony.flows.dequantization import Dequantization, Dequantized


def identity(bits=12, levels=1):
    return ImageDensity(IdentityTransform(), levels=levels, bits=bits, seed=0)


@pytest.mark.parametrize(("bits", "value"), [(8, 0.0), (12, 0.5), (16, 1.0)])
def test_bits_per_dim_of_the_identity(bits, value):
    # A pixel of density N(y; 0, 1) over 2^bits levels costs bits + (y^2 / 2 + log(2 pi) / 2) / ln 2.
    y = value - 0.5
    expected = bits + (y**2 / 2 + 0.5 * math.log(2 * math.pi)) / math.log(2)
    image = torch.full((2, 1, 4, 6), value)
    torch.testing.assert_close(identity(bits).bits_per_dim(image), torch.full((2,), expected), atol=3e-3, rtol=0)
    torch.testing.assert_close(
        identity(bits).log_prob(image), torch.full((2,), -expected * 24 * math.log(2)), atol=0.1, rtol=0
    )


@pytest.mark.parametrize("bits", [8, 10])
def test_bits_per_dim_of_an_encoding_are_those_at_the_centre_of_the_bins(bits):
    levels = 2**bits
    level = levels // 3
    y = (level + 0.5) / levels - 0.5
    expected = bits + (y**2 / 2 + 0.5 * math.log(2 * math.pi)) / math.log(2)
    density = identity(bits)
    found = density.encoded_bits_per_dim(density.encode(torch.full((1, 1, 4, 6), level / (levels - 1))))
    torch.testing.assert_close(found, torch.tensor([expected]), atol=1e-5, rtol=0)


def test_seed_and_generator_choose_the_noise():
    image = torch.rand(2, 1, 8, 8)
    a, b = (ImageDensity(IdentityTransform(), levels=1, bits=8, seed=s) for s in (0, 1))
    assert not torch.equal(a.log_prob(image), b.log_prob(image))
    fresh = torch.Generator().manual_seed(0)
    first, second = a.log_prob(image, fresh), a.log_prob(image, fresh)
    assert not torch.equal(first, second)
    assert torch.equal(a.log_prob(image, torch.Generator().manual_seed(0)), first)


def test_fresh_noise_differs_between_images():
    image = torch.full((2, 1, 8, 8), 0.25)
    one, other = identity(8).log_prob(image, torch.Generator().manual_seed(0))
    assert one != other
    one, other = identity(8).log_prob(image)
    assert one == other


def test_rounding_passes_the_gradient_and_nothing_else():
    image = torch.tensor([0.3001, 0.6999], dtype=torch.float64).repeat(2).view(1, 1, 2, 2).requires_grad_()
    on_grid = ((image * 255).round() / 255).detach().requires_grad_()
    density = identity(8).double()
    for x in (image, on_grid):
        density.log_prob(x).sum().backward()
    assert density.log_prob(image) == density.log_prob(on_grid)
    torch.testing.assert_close(image.grad, on_grid.grad)
    # d/dimage of -y^2/2 with dy/dimage = 255/256
    noise = torch.rand(1, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    y = ((on_grid.detach() * 255).round() + noise) / 256 - 0.5
    torch.testing.assert_close(image.grad, -y * 255 / 256)


def test_float32_and_float64_see_the_same_noise():
    image = torch.rand(2, 1, 8, 8)
    low, high = identity(12).log_prob(image), identity(12).log_prob(image.double())
    torch.testing.assert_close(low.double(), high, rtol=1e-6, atol=0)


@pytest.mark.parametrize("call", ["encode", "decode", "log_prob", "bits_per_dim"])
def test_a_size_that_does_not_fit_is_refused_with_a_cure(call):
    density = FLOWS["splines, 3 levels"].new()
    with pytest.raises(ValueError, match=r"divisible by 8, got 12x16: pad the slices to 16x16"):
        getattr(density, call)(torch.rand(1, 1, 12, 16))
    with pytest.raises(ValueError, match=r"expected \(B, 1, H, W\)"):
        getattr(density, call)(torch.rand(1, 3, 16, 16))


@pytest.mark.parametrize("bits", [7, 17])
def test_bit_depths_out_of_range_are_refused(bits):
    with pytest.raises(ValueError, match="between 8 and 16"):
        identity(bits)


def test_all_grey_levels_of_a_pixel_hold_the_mass_of_their_interval():
    image = (torch.arange(256, dtype=torch.float64) / 255).view(256, 1, 1, 1)
    total = identity(8, levels=0).log_prob(image).exp().sum()
    assert total.item() == pytest.approx(math.erf(0.5 / math.sqrt(2)), rel=1e-3)  # P(|y| < 0.5)


class SquaredNoise(Dequantization):
    """u = noise^2, of density q(u) = 1 / (2 sqrt(u))."""

    def forward(self, image, noise):
        return Dequantized(noise**2, -(2 * noise).log().flatten(1).sum(1))


class Dear(Dequantization):
    """Uniform noise at a price."""

    def forward(self, image, noise):
        return Dequantized(noise, torch.arange(1.0, len(image) + 1))


def test_the_noise_is_paid_for():
    image = torch.rand(3, 1, 8, 8)
    free, dear = (ImageDensity(IdentityTransform(), levels=1, bits=8, seed=0, dequantization=d) for d in (None, Dear()))
    torch.testing.assert_close(
        free.log_prob(image) - dear.log_prob(image), torch.tensor([1.0, 2.0, 3.0]), atol=1e-3, rtol=0
    )


def test_any_dequantization_gives_the_same_probability_on_average():
    image = torch.full((20_000, 1, 1, 1), 100 / 255, dtype=torch.float64)
    density = ImageDensity(IdentityTransform(), levels=0, bits=8, seed=0, dequantization=SquaredNoise())
    estimate = density.log_prob(image, torch.Generator().manual_seed(0)).exp().mean()
    expected = torch.distributions.Normal(0, 1).cdf(torch.tensor([100 / 256, 101 / 256]) - 0.5).diff()
    assert estimate.item() == pytest.approx(expected.item(), rel=0.02)
