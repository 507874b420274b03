"""Each solver reaches the closed-form answer of a Gaussian density with a quadratic distance."""

import pytest
import torch
from nflows.transforms import PointwiseAffineTransform

from harmony.core import Stack
from harmony.core.reference import Reference
from harmony.distances import StructuralDistance
from harmony.flows import ImageDensity
from harmony.flows.density import Encoded
from harmony.methods import Alternating, BlindHarmony, ImageSpace, LatentSpace
from harmony.methods.solvers import BarzilaiBorwein, Iterates

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


def test_one_bad_pixel_makes_the_whole_image_fall_back(query):
    state = Iterates(torch.ones_like(query, dtype=torch.bool), query)
    proposal = query + 0.1
    proposal[1, 0, 2, 3] = torch.inf
    image = state.accept(proposal)
    assert state.fallback.tolist() == [False, True, False]
    assert torch.equal(image[1], query[1])
    torch.testing.assert_close(image[::2], query[::2] + 0.1)


class Wandering:
    """Its decoder, called once an iteration, gives the images of a list; the latent is what it is."""

    def __init__(self, images):
        self.images = iter(images)

    def encode(self, image):
        return Encoded(image, image.flatten(1).sum(1))

    def decode(self, z):
        return next(self.images) + 0 * z


def values(*levels):
    return [torch.full((1, 1, 2, 2), level, dtype=torch.float64) for level in levels]


def test_the_best_iterate_is_returned_wherever_it_was():
    solver = LatentSpace(iterations=4, alpha=0.0, first_step=0.1)
    distance = lambda x: (x - 0.5).abs().flatten(1).sum(1)  # noqa: E731
    start = values(0.0)[0]
    result = solver.solve(Wandering(values(0.9, 0.45, 0.8, 0.1)), distance, start, torch.ones_like(start).bool())
    assert result.image.unique().item() == pytest.approx(0.45)


def test_an_iterate_that_fell_back_is_never_the_best():
    """The distance forgives a bad pixel and calls such an image perfect; what is kept is the best of the valid ones."""
    broken = values(0.7)[0]
    broken[..., 0, 0] = torch.nan
    images = [values(0.9)[0], broken, values(0.6)[0]]
    solver = LatentSpace(iterations=3, alpha=0.0, first_step=0.1)

    def distance(x):
        bad = x.isnan().flatten(1).any(1)
        return torch.where(bad, -1.0 + 0 * x.nan_to_num().flatten(1).sum(1), (x.nan_to_num() - 0.5).flatten(1).sum(1))

    start = values(0.0)[0]
    result = solver.solve(Wandering(images), distance, start, torch.ones_like(start).bool())
    assert result.traces()["fallback"].flatten().tolist() == [0, 1, 0]
    assert result.image.unique().item() == pytest.approx(0.6)


def test_a_step_is_at_most_four_times_the_former():
    """A gradient that hardly changes: the secant estimate of 1 / curvature is ten and more."""
    steps, x = BarzilaiBorwein(0.1), torch.zeros(1, 1, 1, 1)
    lengths = []
    for gradient in (1.0, 0.99, 0.98):
        after = steps.next(x, torch.full_like(x, gradient))
        lengths.append((x - after).item() / gradient)
        x = after
    assert lengths == pytest.approx([0.1, 0.4, 1.6])


def test_the_level_is_kept_where_it_is_asked_for(density, query):
    """The latent step alone pulls towards the mean 0.4, and the norm changes; kept, it stays."""
    mask = torch.ones_like(query, dtype=torch.bool)
    nothing = lambda x: 0 * x.flatten(1).sum(1)  # noqa: E731
    free, kept = (
        Alternating(iterations=5, alpha=0.1, keep_level=keep).solve(density, nothing, query, mask).image
        for keep in (False, True)
    )
    norm = lambda x: x.flatten(1).norm(dim=1)  # noqa: E731
    assert ((norm(free) - norm(query)).abs() > 0.01).all()
    torch.testing.assert_close(norm(kept), norm(query))


def test_an_empty_slice_keeps_its_level_too(density, query):
    mask = torch.zeros_like(query, dtype=torch.bool)
    solver = Alternating(iterations=2, alpha=0.1, keep_level=True)
    assert (solver.solve(density, quadratic(query), query, mask).image == 0).all()


def test_blindharmony_starts_from_the_reference_at_each_slices_own_place(density):
    mean = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1, 1).expand(3, 1, 4, 4).clone()
    mean[..., 0] = 0  # where no reference subject has brain
    reference = Reference(mean, torch.rand(3, 8), torch.ones(3))
    distance = StructuralDistance(b1=0.0, relative=True, b2=0.0, centered=False, percentile=30, floor=0.05)
    solver = Alternating(iterations=1, alpha=0.0, keep_level=False)  # one that does nothing
    method = BlindHarmony(density=density, reference=reference, distance=distance, solver=solver, batch=2)
    image = torch.full((3, 1, 4, 4), 0.3)
    stack = Stack(image, torch.ones_like(image, dtype=torch.bool), torch.tensor([0.0, 0.25, 1.0]))
    made = method.harmonize(stack).image
    torch.testing.assert_close(made[:, 0, :, 1], torch.tensor([0.1, 0.3, 0.9])[:, None].expand(3, 4))
    torch.testing.assert_close(made[:, 0, :, 0], torch.full((3, 4), 0.3))


def test_slices_without_brain_are_solved_once_and_come_out_as_before(density):
    mask = torch.ones(6, 1, 4, 4, dtype=torch.bool)
    mask[[1, 2, 5]] = False
    image = torch.where(mask, torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)), 0)
    stack = Stack(image, mask, torch.linspace(0, 1, 6))
    reference = Reference(torch.rand(3, 1, 4, 4), torch.rand(3, 8), torch.ones(3))
    distance = StructuralDistance(b1=0.2, relative=True, b2=1e-3, centered=False, percentile=30, floor=0.05)
    solver, sizes = Alternating(iterations=3, alpha=0.1, keep_level=True), []

    class Counting:
        def solve(self, density, distance, start, mask):
            sizes.append(len(start))
            return solver.solve(density, distance, start, mask)

    made = BlindHarmony(density=density, reference=reference, distance=distance, solver=Counting(), batch=3)
    found = made.harmonize(stack)
    assert sum(sizes) == 4
    start = reference.start(stack.position)
    all_solved = solver.solve(density, distance.to(image, mask), torch.where(start > 0, start, image), mask)
    torch.testing.assert_close(found.image, all_solved.image, atol=1e-6, rtol=0)
    for name, values in all_solved.traces().items():
        torch.testing.assert_close(found.trace[name], values, atol=1e-5, rtol=1e-5)


def test_out_of_memory_ends_in_smaller_batches_with_the_same_result(density):
    image = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    stack = Stack(image, torch.ones_like(image, dtype=torch.bool), torch.linspace(0, 1, 5))
    reference = Reference(torch.rand(3, 1, 4, 4), torch.rand(3, 8), torch.ones(3))
    distance = StructuralDistance(b1=0.2, relative=True, b2=1e-3, centered=False, percentile=30, floor=0.05)
    solver = Alternating(iterations=2, alpha=0.1, keep_level=True)

    class OfASmallCard:
        def __init__(self, room):
            self.room = room

        def solve(self, density, distance, start, mask):
            if len(start) > self.room:
                raise torch.OutOfMemoryError
            return solver.solve(density, distance, start, mask)

    def method(room):
        return BlindHarmony(density=density, reference=reference, distance=distance, solver=OfASmallCard(room), batch=8)

    whole, small = method(8).harmonize(stack), method(2).harmonize(stack)
    torch.testing.assert_close(small.image, whole.image, atol=1e-6, rtol=0)
    assert small.trace["distance"].shape == whole.trace["distance"].shape
    with pytest.raises(torch.OutOfMemoryError):
        method(0).harmonize(stack)
