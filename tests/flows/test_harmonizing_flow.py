"""What only the Harmonizing Flow has: its couplings, the logit, its dequantizer's bound, its recomputation."""

import math

import flow_cases as cases
import pytest
import torch
from flow_cases import FLOWS, affine, trained
from nflows.transforms import CompositeTransform
from test_flow_laws import log_det_by_autograd
from torch import nn

from harmony.flows.coupling import MaskedAffineCoupling, coupling_mask
from harmony.flows.density import standard_normal_log_prob
from harmony.flows.dequantization_variational import VariationalDequantization
from harmony.flows.logit import Logit

TINY = 1e-8
KINDS = [("checkerboard", 1, 0), ("checkerboard", 1, 1), ("checkerboard", 3, 0), ("channel", 4, 0), ("channel", 4, 1)]


def flow(seed=0, **changes):
    return cases.flow("harmonizing", seed, **changes)[0]


def images(count=2, height=4, width=8):
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_coupling_by_hand():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.tensor([[0.7], [0.3]]).view(1, 2, 1, 1).expand(len(x), 2, *x.shape[-2:])

    layer = MaskedAffineCoupling(Constant(), channels=1, mask="checkerboard", parity=0, dtype=None, recompute=False)
    layer.log_bound.data.fill_(math.log(2))
    z, logabsdet = layer(torch.tensor([[1.0, -1.0]]).view(1, 1, 1, 2))
    s = 2 * math.tanh(0.7 / 2)
    assert z.flatten().tolist() == pytest.approx([1.0, (-1 + 0.3) * math.exp(s)])
    assert logabsdet.item() == pytest.approx(s)


@pytest.mark.parametrize(("kind", "channels", "parity"), KINDS)
def test_a_coupling_moves_half_and_leaves_the_other(kind, channels, parity):
    layer, x = trained(affine(kind, channels, parity), parity), torch.randn(2, channels, 3, 2, dtype=torch.float64)
    z, _ = layer(x)
    stays = coupling_mask(x, kind, parity).expand_as(x) == 1
    assert torch.equal(z[stays], x[stays])
    assert (z != x)[~stays].all()


def test_parities_share_the_pixels_out():
    for kind, x in (("checkerboard", torch.zeros(1, 1, 3, 5)), ("channel", torch.zeros(1, 4, 1, 1))):
        even, odd = (coupling_mask(x, kind, parity) for parity in (0, 1))
        assert torch.equal(even + odd, torch.ones_like(even))
    board = coupling_mask(torch.zeros(1, 1, 2, 3), "checkerboard", 0)
    assert board.flatten().tolist() == [1, 0, 1, 0, 1, 0]


def test_channel_masks_need_an_even_number_of_channels():
    with pytest.raises(ValueError, match="halves the channels"):
        MaskedAffineCoupling(nn.Identity(), channels=3, mask="channel", parity=0, dtype=None, recompute=False)


def test_context_reaches_the_conditioner():
    layer, x = trained(affine("checkerboard", 1, 0, context=1), 0), torch.randn(1, 1, 4, 4, dtype=torch.float64)
    assert not torch.allclose(layer(x, torch.zeros_like(x))[0], layer(x, torch.ones_like(x))[0])


@pytest.mark.parametrize("margin", [1e-5, 0.2])
def test_logit_by_hand(margin):
    y = torch.tensor([-0.7, -0.5, -0.4999, -0.1, 0.3, 0.49999, 0.5, 2.0], dtype=torch.float64).view(1, 1, 2, 4)
    z, _ = Logit(margin=margin)(y)
    assert (z.flatten().diff() > 0).all()
    p = margin / 2 + (1 - margin) * (0.3 + 0.5)
    assert z[0, 0, 1, 0].item() == pytest.approx(math.log(p / (1 - p)))


def test_a_new_flow_is_the_logit():
    density, image = FLOWS["harmonizing"].new().double(), images()
    y = (image * 255 + 0.5) / 256 - 0.5
    torch.testing.assert_close(density.encode(image).z, Logit(margin=1e-5)(y)[0])


def nodes(reach=19.0, count=200):
    """Points of [-1/2, 1/2]^2, evenly spaced as logits so that integrals converge fast, and their weights.

    The margin is small enough here that the noise it cuts off, which a dequantizer would stretch, does not matter.
    With (B, 1, 1, 2) points y and (B,) weights w, sum w f(y) is the integral of f; for y = noise - 1/2 or an image.
    """
    x = torch.linspace(-reach, reach, count, dtype=torch.float64)
    y, log_slope = Logit(margin=TINY).inverse(x.view(-1, 1, 1, 1))
    weight = log_slope.exp() * (x[1] - x[0])
    return torch.cartesian_prod(y.flatten(), y.flatten()).view(-1, 1, 1, 2), torch.outer(weight, weight).flatten()


def test_parity_alternates_so_that_every_pixel_moves():
    density, image = flow(levels=0), images()
    assert (density.encode(image).z != Logit(margin=1e-5)((image * 255 + 0.5) / 256 - 0.5)[0]).all()
    layers = [layer for layer in flow(couplings=4).modules() if isinstance(layer, MaskedAffineCoupling)]
    assert [layer.parity for layer in layers] == 4 * [0, 1, 0, 1]


@pytest.mark.parametrize("seed", range(2))
def test_density_of_two_pixels_has_mass_one(seed):
    density = flow(seed, levels=0, widths=(4, 6), logit_margin=TINY, dequantization="uniform")
    y, weight = nodes()
    image = ((y + 0.5) * 256 - 0.5) / 255  # bins, not their centres, fill [0, 1]
    with torch.no_grad():
        z, logabsdet = density.encode(image)
    mass = (weight * (standard_normal_log_prob(z) + logabsdet).exp()).sum() * (256 / 255) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("seed", range(2))
def test_variational_bound_never_beats_the_exact_likelihood(seed):
    density = flow(seed, levels=0, widths=(4, 6), logit_margin=TINY)
    y, weight = nodes()
    noise = y + 0.5
    level = torch.tensor([20.0, 200.0], dtype=torch.float64).view(1, 1, 1, 2).expand_as(noise)

    def log_density(u):
        z, logabsdet = density.transform((level + u) / 256 - 0.5)
        return standard_normal_log_prob(z) + logabsdet - 2 * math.log(256)

    with torch.no_grad():
        exact = (weight * log_density(noise).exp()).sum().log()
        u, log_q = density.dequantization(level / 255, noise)
        terms = log_density(u) - log_q
    bound = (weight * terms).sum()
    assert bound < exact - 1e-3  # Jensen; strict, as an untrained q does not fit
    torch.testing.assert_close((weight * terms.exp()).sum().log(), exact, atol=1e-3, rtol=0)


def test_dequantizer_log_q_is_that_of_its_jacobian():
    layers = [trained(affine("checkerboard", 1, k, context=1), k) for k in range(2)]
    dequantization = VariationalDequantization(layers, margin=1e-5)
    image, noise = images(2, 4, 2), torch.rand(2, 1, 4, 2, dtype=torch.float64)
    u, log_q = dequantization(image, noise)
    assert ((u >= 0) & (u <= 1)).all()
    one = [
        log_det_by_autograd(lambda v, i=i: dequantization(i, v).u, v)
        for i, v in zip(image[:, None], noise[:, None], strict=True)
    ]
    torch.testing.assert_close(log_q, -torch.cat(one))


def test_dequantizer_sees_the_image_from_minus_one_to_one():
    seen = []

    class Spy(CompositeTransform):
        def forward(self, inputs, context=None):
            seen.append(context)
            return inputs, inputs.new_zeros(len(inputs))

    image = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    u, log_q = VariationalDequantization([Spy([])], margin=1e-5)(image, torch.full_like(image, 0.25))
    assert seen[0].flatten().tolist() == [-1, 0, 1]
    torch.testing.assert_close(u, torch.full_like(image, 0.25), atol=1e-5, rtol=0)
    torch.testing.assert_close(log_q, torch.zeros(1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("frozen", [False, True])
def test_recomputation_changes_no_gradient_and_keeps_less(frozen):
    plain, thrifty = flow(), flow(recompute=True)
    results = []
    for density in (plain, thrifty):
        density.requires_grad_(not frozen)
        image, kept = images().requires_grad_(), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):
            loss = density.bits_per_dim(image).mean()
        loss.backward()
        results.append((loss, image.grad, [p.grad for p in density.parameters()], sum(kept)))
    for ours, theirs in zip(results[0][:3], results[1][:3], strict=True):
        torch.testing.assert_close(ours, theirs)
    assert results[1][3] < 0.5 * results[0][3]
