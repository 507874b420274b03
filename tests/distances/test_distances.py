"""The distances obey their definitions: hand-computed values, invariances, and gradients."""

import pytest
import torch

from harmony.distances import StructuralDistance, masked_gradient_l1, ncc, non_edge_mask, sobel


def image(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_uncentred_ncc_is_the_cosine_and_centred_ncc_the_correlation():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=torch.float64)
    y = torch.tensor([[[[2.0, 1.0], [4.0, 3.0]]]], dtype=torch.float64)
    assert ncc(x, y, centered=False).item() == pytest.approx(28 / 30)
    assert ncc(x, y, centered=True).item() == pytest.approx(3 / 5)


@pytest.mark.parametrize("centered", [True, False])
def test_ncc_of_an_image_with_a_multiple_of_itself_is_one(centered):
    x = image(0, 3, 1, 5, 7)
    torch.testing.assert_close(ncc(x, 2.5 * x, centered=centered), torch.ones(3, dtype=torch.float64))


def test_only_centred_ncc_ignores_an_offset():
    x = image(0, 1, 1, 5, 7)
    assert ncc(x, x + 0.3, centered=True).item() == pytest.approx(1)
    assert ncc(x, x + 0.3, centered=False).item() < 0.999


def test_ncc_of_an_empty_slice_is_zero_with_finite_gradient():
    x = torch.zeros(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    value = ncc(x, image(0, 1, 1, 4, 4), centered=False)
    value.sum().backward()
    assert value.item() == 0
    assert x.grad.isfinite().all()


def test_hand_derived_gradient_of_ncc_meets_autograd():
    x, y = image(1, 2, 1, 4, 6).requires_grad_(), image(2, 2, 1, 4, 6)
    (found,) = torch.autograd.grad(ncc(x, y, centered=False).sum(), x)
    a, b = x.detach().flatten(1), y.flatten(1)
    na, nb = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    by_hand = b / (na * nb) - (a * b).sum(1, keepdim=True) * a / (na**3 * nb)
    torch.testing.assert_close(found.flatten(1), by_hand)


def test_sobel_of_ramps():
    h, w = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    down, right = sobel(h[None, None])[0], sobel(w[None, None])[0]
    assert (down[0, 1:-1, 1:-1] == 8).all()
    assert (down[1, 1:-1, 1:-1] == 0).all()
    assert (right[1, 1:-1, 1:-1] == 8).all()
    assert (right[0, 1:-1, 1:-1] == 0).all()


def test_the_percentile_is_taken_inside_the_brain():
    """With 60 % background the 30th percentile of the whole slice is 0, and a strict < would keep nothing."""
    query = torch.zeros(1, 1, 20, 20)
    query[..., 6:18, 6:18] = 0.2 + 0.6 * image(3, 1, 1, 12, 12).float()
    mask = query > 0
    kept = non_edge_mask(query, mask, percentile=30, floor=0.05)
    share = kept.float().sum((2, 3)) / mask.float().sum((2, 3))
    assert ((share - 0.3).abs() < 0.02).all()
    assert not kept[:, :, ~mask[0, 0]].any()


def test_the_edge_mask_follows_the_floor_and_the_percentile():
    query = 0.1 + 0.9 * image(4, 1, 1, 16, 16)
    everywhere = torch.ones_like(query, dtype=torch.bool)
    assert non_edge_mask(query, everywhere, percentile=100, floor=0.05).all()
    bright = non_edge_mask(query, everywhere, percentile=100, floor=0.5)
    assert torch.equal(bright[:, 0], query[:, 0] > 0.5)


def test_a_slice_without_brain_keeps_no_pixel_and_costs_nothing():
    query = torch.zeros(2, 1, 8, 8)
    kept = non_edge_mask(query, query > 0, percentile=30, floor=0.05)
    assert not kept.any()
    assert (masked_gradient_l1(image(5, 2, 1, 8, 8), kept) == 0).all()


def test_masked_gradient_by_hand():
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1.0
    keep = torch.ones(1, 2, 5, 5, dtype=torch.bool)
    assert masked_gradient_l1(x, keep).item() == 16  # |kernel| sums to 8 in each direction
    keep[:, 1] = False
    assert masked_gradient_l1(x, keep).item() == 8


def test_the_structural_distance_adds_both_terms_per_image():
    settings = StructuralDistance(b1=10.0, relative=False, b2=0.5, centered=False, percentile=30, floor=0.05)
    x, query = image(6, 2, 1, 8, 8), image(7, 2, 1, 8, 8)
    mask = torch.ones_like(query, dtype=torch.bool)
    expected = 10 * (1 - ncc(x, query, centered=False)) + 0.5 * masked_gradient_l1(
        x, non_edge_mask(query, mask, percentile=30, floor=0.05)
    )
    torch.testing.assert_close(settings.to(query, mask)(x), expected)
    assert settings.to(query, mask)(query).shape == (2,)


def structural(b1, *, relative=True, centered=False):
    return StructuralDistance(b1=b1, relative=relative, b2=0.0, centered=centered, percentile=30, floor=0.05)


def stepped(x, query, settings):
    """One image step of the published solver."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(settings.to(query, query > 0)(x).sum(), x)
    return (x - gradient).detach()


def test_a_relative_step_is_the_same_at_every_image_size_and_brightness_and_the_papers_is_not():
    x, query = image(8, 1, 1, 8, 8), image(9, 1, 1, 8, 8)
    larger = lambda y: torch.nn.functional.interpolate(y, scale_factor=3, mode="nearest")  # noqa: E731
    torch.testing.assert_close(
        stepped(larger(x), larger(query), structural(0.2)), larger(stepped(x, query, structural(0.2)))
    )
    torch.testing.assert_close(stepped(0.1 * x, 0.1 * query, structural(0.2)), 0.1 * stepped(x, query, structural(0.2)))
    fixed = structural(1.0, relative=False)
    assert not torch.allclose(stepped(larger(x), larger(query), fixed), larger(stepped(x, query, fixed)), atol=1e-3)


def test_a_relative_step_is_that_share_of_the_way_onto_the_querys_line():
    """x - <x, q> q is what is off the line; for |x| = |x_q| a step takes the share b1 c of it away, to first order."""
    query = image(10, 1, 1, 8, 8)
    x = query + 0.01 * image(11, 1, 1, 8, 8)
    x = x * query.norm() / x.norm()

    def off(y):
        return y - (y * query).sum() / query.square().sum() * query

    made = stepped(x, query, structural(0.25))
    assert (off(made).norm() / off(x).norm()).item() == pytest.approx(0.75, abs=1e-3)


def test_the_papers_step_overshoots_where_little_brain_is_in_a_slice_and_a_relative_one_does_not():
    query, x = image(12, 1, 1, 8, 8), image(13, 1, 1, 8, 8)
    distance = lambda y: (1 - ncc(y, query, centered=False)).item()  # noqa: E731
    assert distance(stepped(x, query, structural(1000.0, relative=False))) > distance(x) * 0.5
    assert distance(stepped(x, query, structural(0.17))) < distance(x)


@pytest.mark.parametrize("centered", [True, False])
def test_the_structural_distance_centres_where_it_is_asked_to(centered):
    x, query = image(14, 1, 1, 8, 8), image(15, 1, 1, 8, 8)
    found = structural(10.0, relative=False, centered=centered).to(query, query > 0)(x).item()
    assert found == pytest.approx(10 * (1 - ncc(x, query, centered=centered).item()))
    assert abs(ncc(x, query, centered=True) - ncc(x, query, centered=False)).item() > 0.05
