"""The battery of every flow, in float64: exact log-determinants, exact inverses, honest bits, one set of weights."""

import math

import pytest
import torch
from flow_cases import FLOWS, LAYERS, coupling, flow, layer, step, trained
from nflows.transforms import CompositeTransform
from torch.autograd.functional import jacobian

from harmony.flows.density import standard_normal_log_prob
from harmony.flows.dequantization import UniformDequantization

EVERY_FLOW = pytest.mark.parametrize("name", FLOWS)
EVERY_LAYER = pytest.mark.parametrize("name", LAYERS)


def log_det_by_autograd(f, x):
    """(B,) log |det| of the Jacobian of `f` at every image of x."""
    size = x[0].numel()
    jacobians = torch.stack([jacobian(f, one[None]).reshape(size, size) for one in x])
    return torch.linalg.slogdet(jacobians).logabsdet


@EVERY_LAYER
def test_layer_log_det_is_that_of_its_jacobian(name):
    transform, x = layer(name)
    z, logabsdet = transform(x)
    torch.testing.assert_close(logabsdet, log_det_by_autograd(lambda v: transform(v)[0], x))
    torch.testing.assert_close(transform.inverse(z)[1], log_det_by_autograd(lambda v: transform.inverse(v)[0], z))


@EVERY_LAYER
def test_layer_inverse_undoes_forward(name):
    transform, x = layer(name)
    z, there = transform(x)
    back, home = transform.inverse(z)
    torch.testing.assert_close(back, x, atol=1e-8, rtol=0)
    torch.testing.assert_close(there, -home, atol=1e-7, rtol=0)


@EVERY_FLOW
def test_encode_log_det_is_that_of_its_jacobian(name):
    density, image = flow(name)
    assert density.encode(image).z.shape == image.shape
    torch.testing.assert_close(
        density.encode(image).logabsdet, log_det_by_autograd(lambda v: density.encode(v).z, image)
    )


@EVERY_FLOW
def test_decode_undoes_encode(name):
    density, image = flow(name)
    torch.testing.assert_close(density.decode(density.encode(image).z), image, atol=1e-8, rtol=0)


@EVERY_FLOW
def test_encode_undoes_decode_far_outside_the_data(name):
    density, image = flow(name)
    z = 5 * torch.randn_like(image)
    torch.testing.assert_close(density.encode(density.decode(z)).z, z, atol=1e-6, rtol=0)


@EVERY_FLOW
def test_float32_round_trip_from_black_to_white(name):
    density, image = flow(name)
    image = torch.linspace(0, 1, image.numel()).view_as(image)
    torch.testing.assert_close(density.float().decode(density.encode(image).z), image, atol=FLOWS[name].float32, rtol=0)


@EVERY_FLOW
def test_any_size_that_fits_with_one_set_of_weights(name):
    density, _ = flow(name)
    unit = 2**density.levels
    for height, width in [(unit, unit), (3 * unit, 5 * unit)]:
        image = torch.rand(1, 1, height, width, dtype=torch.float64)
        torch.testing.assert_close(density.decode(density.encode(image).z), image, atol=1e-7, rtol=0)
    if density.levels:
        with pytest.raises(ValueError, match=rf"divisible by {unit}, got {unit}x{3 * unit + 1}: pad the slices to"):
            density.encode(torch.rand(1, 1, unit, 3 * unit + 1))


@EVERY_FLOW
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, -1e3, 1e3])
def test_flat_images_have_finite_values_and_gradients(name, value):
    density, image = flow(name)
    image = torch.full_like(image, value).requires_grad_()
    encoded = density.encode(image)
    (encoded.z.square().sum() + encoded.logabsdet.sum() + density.bits_per_dim(image).sum()).backward()
    gradients = [p.grad for p in density.parameters() if p.grad is not None]
    assert encoded.z.isfinite().all()
    assert image.grad.isfinite().all()
    assert all(g.isfinite().all() for g in gradients)


@EVERY_FLOW
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
def test_decode_is_differentiable_and_finite(name, scale):
    density, image = flow(name)
    z = (scale * torch.randn_like(image)).requires_grad_()
    decoded = density.decode(z)
    decoded.square().sum().backward()
    assert decoded.isfinite().all()
    assert z.grad.isfinite().all()
    assert (z.grad != 0).any()


@EVERY_FLOW
def test_log_prob_is_that_of_the_dequantized_grey_levels_and_pays_for_the_noise(name):
    """log N(f(y)) + log |det| - D log L - log q(u), y the grey levels with the noise u within them."""
    density, image = flow(name)
    level = (255 * image).round()
    noise = torch.rand(image[:1].shape, generator=torch.Generator().manual_seed(0)).double().expand_as(image)
    u, log_q = density.dequantization(level / 255, noise)
    z, logabsdet = density.transform((level + u) / 256 - 0.5)
    base = torch.distributions.Normal(0, 1).log_prob(z).flatten(1).sum(1)
    expected = base + logabsdet - image[0].numel() * math.log(256) - log_q
    torch.testing.assert_close(density.log_prob(image), expected)
    torch.testing.assert_close(density.bits_per_dim(image), -expected / (image[0].numel() * math.log(2)))


@EVERY_FLOW
def test_an_encoding_costs_what_its_grey_levels_cost_at_their_centres(name, monkeypatch):
    density, image = flow(name)
    density.dequantization = UniformDequantization()
    monkeypatch.setattr("harmony.flows.density.draw_noise", lambda shape, like, _: torch.full(shape, 0.5).to(like))
    image = (255 * image).round() / 255
    binned, read = density.bits_per_dim(image), density.encoded_bits_per_dim(density.encode(image))
    torch.testing.assert_close(read, binned, rtol=1e-9, atol=0)


@EVERY_FLOW
def test_value_is_the_same_every_time_and_does_not_depend_on_the_batch(name):
    density, image = flow(name)
    together = density.bits_per_dim(image)
    assert torch.equal(density.bits_per_dim(image), together)
    torch.testing.assert_close(density.bits_per_dim(image.flip(0)).flip(0), together)
    torch.testing.assert_close(torch.cat([density.bits_per_dim(one[None]) for one in image]), together)


@EVERY_FLOW
def test_a_generator_draws_fresh_noise(name):
    density, image = flow(name)
    fixed, fresh = density.bits_per_dim(image), density.bits_per_dim(image, torch.Generator().manual_seed(3))
    assert not torch.equal(fresh, fixed)
    assert torch.equal(density.bits_per_dim(image, torch.Generator().manual_seed(3)), fresh)


@EVERY_FLOW
def test_autocast_leaves_the_flow_alone(name):
    density, image = flow(name)
    density, image = density.float(), image.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = density.encode(image).z
    assert torch.equal(inside, density.encode(image).z)


@EVERY_FLOW
def test_bfloat16_conditioners_stay_close(name):
    density, image = flow(name)
    fast = FLOWS[name].new(conditioner_dtype="bfloat16")
    fast.load_state_dict(density.state_dict())
    fast, density, image = fast.float().eval(), density.float(), image.float()
    exact, rough = density.bits_per_dim(image), fast.bits_per_dim(image)
    rough.mean().backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in fast.parameters())
    assert fast.encode(image).z.dtype == torch.float32
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(exact, rough, atol=0.05, rtol=0.02)


@EVERY_FLOW
def test_samples_are_images_and_temperature_zero_is_the_mode(name):
    density, image = flow(name)
    size = image.shape[2:]
    sample = density.sample(3, *size, 1.0, torch.Generator().manual_seed(0))
    assert sample.shape == (3, 1, *size)
    assert sample.min() >= 0
    assert sample.max() <= 1
    cold = density.sample(2, *size, 0.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(cold, density.decode(torch.zeros_like(cold)).clamp(0, 1))


@pytest.mark.parametrize("name", [name for name, case in FLOWS.items() if case.paper])
def test_paper_size(name):
    settings, count = FLOWS[name].paper
    with torch.device("meta"):
        density = FLOWS[name].new(**settings)
    assert sum(p.numel() for p in density.parameters()) == count


@pytest.mark.parametrize("seed", range(3))
def test_density_of_two_pixels_has_mass_one(seed):
    torch.manual_seed(seed)
    transform = trained(CompositeTransform([coupling(2), step(2)]), seed)
    side = torch.linspace(-12, 12, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side).view(-1, 2, 1, 1)
    with torch.no_grad():
        z, logabsdet = transform(grid)
        density = (standard_normal_log_prob(z) + logabsdet).exp().view(801, 801)
    mass = torch.trapezoid(torch.trapezoid(density, side), side)
    assert mass.item() == pytest.approx(1, abs=1e-3)
