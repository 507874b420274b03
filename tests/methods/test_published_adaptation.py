"""The adaptation of Harmonizing Flows against a plain re-statement of the paper's loop in grey levels 0..255."""

import copy
import functools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from harmony.core import Stack
from harmony.core.reference import Reference
from harmony.flows import harmonizing_flow
from harmony.methods import Budget, HarmonizingFlows
from harmony.networks import Harmonizer

REFERENCE = Reference(torch.zeros(3, 1, 16, 16), torch.linspace(0, 1, 64).expand(3, 64), torch.ones(3))
STEPS = 20


def perturbed(module, scale):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module.double()


@pytest.fixture(params=["variational", "uniform"])
def density(request):
    torch.manual_seed(0)
    made = harmonizing_flow(
        levels=1, couplings=2, widths=(4, 4), logit_margin=1e-5, dequantization=request.param, bits=8, seed=0
    )
    return perturbed(made, 0.05).requires_grad_(False).eval()


@pytest.fixture
def harmonizer():
    torch.manual_seed(1)
    return perturbed(Harmonizer(widths=(8, 8, 8)), 0.05)


@pytest.fixture
def stack():
    image = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mask = torch.zeros_like(image, dtype=torch.bool)
    mask[..., 3:13, 3:13] = True
    return Stack(torch.where(mask, 0.1 + 0.6 * image, 0), mask, torch.linspace(0, 1, 6))


class InGreyLevels(nn.Module):
    """The authors' harmonizer: takes X in 0..255, gives alpha X + beta in 0..255. Written from the paper's words."""

    def __init__(self, harmonizer):
        super().__init__()
        self.net = copy.deepcopy(harmonizer)
        with torch.no_grad():
            self.net.first.weight /= 255
            self.net.beta_head.weight *= 255
            self.net.beta_head.bias *= 255

    def forward(self, x):
        skips, h = [], self.net.first(x)
        for stage in self.net.down:
            skips.append(h)
            h = stage(F.max_pool2d(h, 2))
        alpha = self.net.alpha_head(h.mean(dim=(2, 3), keepdim=True))
        for stage, skip in zip(self.net.up, reversed(skips), strict=True):
            h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
            h = stage(torch.cat((h, skip), dim=1))
        return alpha * x + self.net.beta_head(h)


def bits(density, x, u):
    """Bits per pixel of continuous grey levels x in 0..255 with noise u, as the paper: (x + u) / 256 into the flow."""
    v, log_q = density.dequantization(x / 255, u)
    z, logabsdet = density.transform((x + v) / 256 - 0.5)
    log_p = -0.5 * (z**2).sum((1, 2, 3)) - 0.5 * z[0].numel() * math.log(2 * math.pi) + logabsdet - log_q
    return 8 - log_p / (z[0].numel() * math.log(2))


def restated(density, harmonizer, stack, rate, batch):
    """Outputs in grey levels before the first pass and after each: Adam on all weights, on clamped outputs' bits."""
    network, x, mask = InGreyLevels(harmonizer), 255 * stack.image, stack.mask
    adam, generator = torch.optim.Adam(network.parameters(), lr=rate), torch.Generator().manual_seed(7)
    outputs = lambda: torch.where(mask, network(x).clamp(0, 255), 0).detach()  # noqa: E731
    seen = [outputs()]
    for _ in range(STEPS):
        for part in torch.randperm(len(x), generator=generator).split(batch):
            made = torch.where(mask[part], network(x[part]).clamp(0, 255), 0)
            noise = torch.rand(made.shape, generator=generator).double()
            adam.zero_grad()
            bits(density, made, noise).mean().backward()
            adam.step()
        seen.append(outputs())
    return seen


def ours(density, harmonizer, stack, rate, batch, units="grey_levels"):
    optimizer = functools.partial(torch.optim.Adam, lr=rate)
    method = HarmonizingFlows(
        density=density, reference=REFERENCE, reference_bpd=0.0, harmonizer=harmonizer, optimizer=optimizer,
        units=units, trainable="all", stop=Budget(passes=STEPS), jacobian=0.0, guard=False,
        count=None, step=1, batch=batch, seed=7,
    )  # fmt: skip
    seen = []
    method.adapt([stack], lambda _: seen.append(255 * method.harmonize(stack).image))
    return seen


def furthest(one, other):
    return max((a - b).abs().max().item() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("rate", "batch"), [(4e-6, 4), (1e-3, 6)])
def test_the_same_weights_give_the_papers_trajectory(density, harmonizer, stack, rate, batch):
    expected = restated(density, harmonizer, stack, rate, batch)
    found = ours(density, harmonizer, stack, rate, batch)
    assert len(found) == STEPS + 1
    assert furthest(found, expected) < 1e-4
    assert (expected[-1] - expected[0]).abs().max() > 20 * 1e-4  # it went somewhere


def test_the_rate_alone_is_another_dose(density, harmonizer, stack):
    expected = restated(density, harmonizer, stack, 4e-6, 6)
    assert furthest(ours(density, harmonizer, stack, 4e-6, 6, units="unit_interval"), expected) > 10 * 1e-4


def test_a_network_in_grey_levels_is_the_authors_and_needs_no_conversion(density, harmonizer, stack):
    native = Harmonizer(widths=(8, 8, 8), grey_levels=True).double()
    native.load_state_dict(InGreyLevels(harmonizer).net.state_dict())
    assert set(native.grey_level_units().values()) == {1.0}
    expected = restated(density, harmonizer, stack, 4e-6, 6)
    assert furthest(ours(density, native, stack, 4e-6, 6), expected) < 1e-4


def test_a_step_of_the_loss_meets_finite_differences(density, stack):
    """Of continuous levels: rounding would make the value a staircase, and its gradient nobody's."""
    x = stack.image[:2].clone().requires_grad_()

    def loss(image):
        return density.relaxed_bits_per_dim(image, torch.Generator().manual_seed(3))

    (gradient,) = torch.autograd.grad(loss(x).sum(), x)
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * stack.mask[:2]
    step = 1e-6
    with torch.no_grad():
        slope = (loss(x + step * way) - loss(x - step * way)).sum() / (2 * step)
    assert (gradient * way).sum().item() == pytest.approx(slope.item(), rel=1e-5)


def test_every_step_and_slice_has_noise_of_its_own_and_the_seed_gives_it_again(density, harmonizer, stack):
    seen = []

    class Watched(type(density.dequantization)):
        def forward(self, image, noise):
            if torch.is_grad_enabled():
                seen.append(noise)
            return super().forward(image, noise)

    density.dequantization.__class__ = Watched
    ours(density, harmonizer, stack, 4e-6, 3)
    first = torch.cat(seen).flatten(1)
    assert len(first) == STEPS * len(stack)
    assert len(first.unique(dim=0)) == len(first)
    seen.clear()
    ours(density, harmonizer, stack, 4e-6, 3)
    assert torch.equal(torch.cat(seen).flatten(1), first)


@pytest.mark.parametrize(
    "optimizer",
    [functools.partial(torch.optim.SGD, lr=1e-3), functools.partial(torch.optim.Adam, lr=1e-3, weight_decay=1e-2)],
)
def test_an_optimizer_for_which_the_units_are_not_worked_out_is_refused(density, harmonizer, stack, optimizer):
    method = HarmonizingFlows(
        density=density, reference=REFERENCE, reference_bpd=0.0, harmonizer=harmonizer, optimizer=optimizer,
        units="grey_levels", trainable="all", stop=Budget(passes=1), jacobian=0.0, guard=False,
        count=None, step=1, batch=4, seed=0,
    )  # fmt: skip
    with pytest.raises(ValueError, match="units: grey_levels"):
        method.adapt([stack])
