"""The spline against nflows' own, its derivative, and the places where nflows' own fails."""

import pytest
import torch
from flow_cases import SPLINE
from nflows.transforms.splines import unconstrained_rational_quadratic_spline

from harmony.flows.splines import SplineParameters, SplineSettings, spline_forward, spline_inverse


def bins_first(parameters, settings=SPLINE):
    k = settings.bins
    return SplineParameters(*parameters.t().split([k, k, k - 1]))


BOTH = pytest.mark.parametrize("bend", [spline_forward, spline_inverse])


def inputs_and_parameters(spread, dtype=torch.float64, settings=SPLINE):
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-4, 4, 401, dtype=dtype)
    return x, spread * torch.randn(401, settings.parameters, generator=generator, dtype=dtype)


@BOTH
@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("settings", [SPLINE, SplineSettings(8, 1.5, 1e-2, 2e-2, 3e-3)])
def test_same_numbers_as_nflows(bend, spread, settings):
    x, parameters = inputs_and_parameters(spread, settings=settings)
    k = settings.bins
    expected = unconstrained_rational_quadratic_spline(
        x,
        parameters[:, :k].clone(),
        parameters[:, k : 2 * k].clone(),
        parameters[:, 2 * k :].clone(),
        inverse=bend is spline_inverse,
        tail_bound=settings.tail_bound,
        min_bin_width=settings.min_bin_width,
        min_bin_height=settings.min_bin_height,
        min_derivative=settings.min_derivative,
    )
    for ours, theirs in zip(bend(x, bins_first(parameters, settings), settings), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


@BOTH
def test_log_derivative_is_that_of_autograd(bend):
    x, parameters = inputs_and_parameters(2.0)
    x.requires_grad_()
    y, logabsdet = bend(x, bins_first(parameters), SPLINE)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(logabsdet, slope.log())


@BOTH
def test_gradients_are_those_of_finite_differences(bend):
    x, parameters = inputs_and_parameters(1.0)
    x, parameters = x[::20].clone().requires_grad_(), parameters[::20].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: bend(a, bins_first(b), SPLINE), (x, parameters))


def test_increasing_and_identity_in_the_tails():
    x, parameters = inputs_and_parameters(3.0)
    y, logabsdet = spline_forward(x, bins_first(parameters[:1].expand_as(parameters)), SPLINE)
    assert (y.diff() > 0).all()
    tails = x.abs() > SPLINE.tail_bound
    assert torch.equal(y[tails], x[tails])
    assert (logabsdet[tails] == 0).all()


@BOTH
@pytest.mark.parametrize("value", [-1e6, -3.0, 0.0, 3.0, 1e6])
@pytest.mark.parametrize("spread", [0.0, 1.0, 50.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_everywhere_even_when_all_values_lie_in_the_tails(bend, value, spread, dtype):
    _, parameters = inputs_and_parameters(spread, dtype)
    x = torch.full((401,), value, dtype=dtype, requires_grad=True)
    parameters.requires_grad_()
    y, logabsdet = bend(x, bins_first(parameters), SPLINE)
    (y.sum() + logabsdet.sum()).backward()
    assert all(v.isfinite().all() for v in (y, logabsdet, x.grad, parameters.grad))


def test_bins_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        SplineSettings(8, 3.0, 0.2, 1e-3, 1e-3)
