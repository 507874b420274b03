"""The laws of a normalizing flow, in float64: exact log-determinants, exact inverses, a density of mass 1."""

import pytest
import torch
from flow_cases import FLOWS, LAYERS, coupling, flow, layer, step, trained
from nflows.transforms import CompositeTransform
from torch.autograd.functional import jacobian

from harmony.flows.density import standard_normal_log_prob


def log_det_by_autograd(f, x):
    """(B,) log |det| of the Jacobian of `f` at every image of x."""
    size = x[0].numel()
    jacobians = torch.stack([jacobian(f, one[None]).reshape(size, size) for one in x])
    return torch.linalg.slogdet(jacobians).logabsdet


@pytest.mark.parametrize("name", LAYERS)
def test_layer_log_det_is_that_of_its_jacobian(name):
    transform, x = layer(name)
    z, logabsdet = transform(x)
    torch.testing.assert_close(logabsdet, log_det_by_autograd(lambda v: transform(v)[0], x))
    torch.testing.assert_close(transform.inverse(z)[1], log_det_by_autograd(lambda v: transform.inverse(v)[0], z))


@pytest.mark.parametrize("name", LAYERS)
def test_layer_inverse_undoes_forward(name):
    transform, x = layer(name)
    z, there = transform(x)
    back, home = transform.inverse(z)
    torch.testing.assert_close(back, x, atol=1e-8, rtol=0)
    torch.testing.assert_close(there, -home, atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", FLOWS)
def test_encode_log_det_is_that_of_its_jacobian(name):
    density, image = flow(name)
    assert density.encode(image).z.shape == image.shape
    torch.testing.assert_close(
        density.encode(image).logabsdet, log_det_by_autograd(lambda v: density.encode(v).z, image)
    )


@pytest.mark.parametrize("name", FLOWS)
def test_decode_undoes_encode(name):
    density, image = flow(name)
    torch.testing.assert_close(density.decode(density.encode(image).z), image, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", FLOWS)
def test_encode_undoes_decode_far_outside_the_data(name):
    density, image = flow(name)
    z = 5 * torch.randn_like(image)
    torch.testing.assert_close(density.encode(density.decode(z)).z, z, atol=1e-6, rtol=0)


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


@pytest.mark.parametrize("name", FLOWS)
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


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
def test_decode_is_differentiable_and_finite(scale):
    density, image = flow("2 levels, wide")
    z = (scale * torch.randn_like(image)).requires_grad_()
    decoded = density.decode(z)
    decoded.square().sum().backward()
    assert decoded.isfinite().all()
    assert z.grad.isfinite().all()
    assert (z.grad != 0).any()
