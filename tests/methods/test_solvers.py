"""Each solver reaches the closed-form answer of a Gaussian density with a quadratic distance."""

import pytest
import torch
from nflows.transforms import PointwiseAffineTransform

from harmony.flows import ImageDensity
from harmony.methods import Alternating, ImageSpace, LatentSpace

SIGMA, C = 0.2, 3.0


@pytest.fixture
def density():
    """y ~ N(mean, SIGMA^2) per pixel, so f(y) = (y - mean) / SIGMA."""
    mean = torch.tensor(-0.1)
    transform = PointwiseAffineTransform(shift=-mean / SIGMA, scale=torch.tensor(1 / SIGMA))
    return ImageDensity(transform, levels=0, bits=8, seed=0).double()


@pytest.fixture
def query():
    return 0.3 + 0.4 * torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def quadratic(query):
    """D(x, q) = C / 2 |x - q|^2."""
    return lambda x: C / 2 * (x - query).square().flatten(1).sum(1)


def affine(density):
    """f(x) = slope * x + offset, read off the flow."""
    ends = density.encode(torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)).z.flatten()
    return ends[1] - ends[0], ends[0]


@pytest.mark.parametrize(
    "solver",
    [
        ImageSpace(iterations=20, alpha=0.05, first_step=0.05),
        LatentSpace(iterations=20, alpha=0.05, first_step=0.1),
    ],
)
def test_exact_solvers_minimise_the_objective(density, query, solver):
    slope, offset = affine(density)
    # d/dx [C/2 (x - q)^2 + alpha (slope x + offset)^2] = 0
    expected = (C * query - 2 * solver.alpha * slope * offset) / (C + 2 * solver.alpha * slope**2)
    mask = torch.ones_like(query, dtype=torch.bool)
    found = solver.solve(density, quadratic(query), torch.full_like(query, 0.5), mask)
    torch.testing.assert_close(found.image, expected, atol=1e-9, rtol=0)


def test_the_alternating_solver_reaches_its_fixed_point(density, query):
    """x = f^-1((1 - alpha) f(x - C (x - q))) has the solution below for an affine f."""
    slope, offset = affine(density)
    solver = Alternating(iterations=400, alpha=0.05, keep_level=False)
    step = 0.5  # a unit image step on D = C/2 |x - q|^2 diverges for C > 2: scale D
    shrink = 1 - solver.alpha
    shift = -solver.alpha * offset / slope
    expected = (shrink * step * query + shift) / (1 - shrink * (1 - step))
    mask = torch.ones_like(query, dtype=torch.bool)
    distance = lambda x: step / C * quadratic(query)(x)  # noqa: E731
    found = solver.solve(density, distance, torch.full_like(query, 0.2), mask)
    torch.testing.assert_close(found.image, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "solver",
    [
        Alternating(iterations=3, alpha=0.1, keep_level=False),
        Alternating(iterations=3, alpha=0.1, keep_level=True),
        ImageSpace(iterations=3, alpha=0.1, first_step=0.05),
        LatentSpace(iterations=3, alpha=0.1, first_step=0.05),
    ],
)
class TestEverySolver:
    def test_images_do_not_influence_each_other(self, density, query, solver):
        mask = torch.ones_like(query, dtype=torch.bool)
        start = torch.full_like(query, 0.5)
        together = solver.solve(density, quadratic(query), start, mask).image
        alone = solver.solve(density, quadratic(query[1:2]), start[1:2], mask[1:2]).image
        torch.testing.assert_close(together[1:2], alone)

    def test_background_stays_background_and_the_range_is_kept(self, density, query, solver):
        mask = torch.zeros_like(query, dtype=torch.bool)
        mask[..., :2, :] = True
        image = solver.solve(density, quadratic(query), torch.full_like(query, 0.5), mask).image
        assert (image[~mask] == 0).all()
        assert ((image >= 0) & (image <= 1)).all()

    def test_works_for_a_caller_without_gradients(self, density, query, solver):
        mask = torch.ones_like(query, dtype=torch.bool)
        with torch.no_grad():
            image = solver.solve(density, quadratic(query), torch.full_like(query, 0.5), mask).image
        assert not torch.equal(image, torch.full_like(query, 0.5))

    def test_traces_one_value_per_iteration_and_image(self, density, query, solver):
        mask = torch.ones_like(query, dtype=torch.bool)
        traces = solver.solve(density, quadratic(query), torch.full_like(query, 0.5), mask).traces()
        assert {"distance", "fallback"} <= set(traces)
        assert all(trace.shape == (3, 3) for trace in traces.values())

    def test_a_non_finite_iterate_is_counted_and_replaced(self, density, query, solver):
        mask = torch.ones_like(query, dtype=torch.bool)

        class Broken:
            bits, encoded_bits_per_dim, encode = density.bits, density.encoded_bits_per_dim, density.encode

            @staticmethod
            def decode(z):
                image = density.decode(z)
                return torch.cat([torch.full_like(image[:1], torch.nan), image[1:]])

        result = solver.solve(Broken(), quadratic(query), torch.full_like(query, 0.5), mask)
        assert result.image.isfinite().all()
        if not isinstance(solver, ImageSpace):  # it never decodes
            assert result.traces()["fallback"].sum(0).tolist() == [3, 0, 0]


def test_zero_iterations_return_the_start(density, query):
    mask = torch.ones_like(query, dtype=torch.bool)
    assert torch.equal(
        Alternating(iterations=0, alpha=0.1, keep_level=False).solve(density, quadratic(query), query, mask).image,
        query,
    )


def test_the_encoded_bpd_is_the_scored_bpd_with_centred_noise(density):
    """For an image on the grey-level grid and noise 1/2 both readings of the flow agree."""
    image = torch.randint(0, 256, (2, 1, 4, 4), generator=torch.Generator().manual_seed(0)).double() / 255
    density._noise = lambda image, generator: torch.full_like(image, 0.5)
    torch.testing.assert_close(density.encoded_bits_per_dim(density.encode(image)), density.bits_per_dim(image))
