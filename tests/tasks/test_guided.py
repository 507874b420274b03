"""Laws of guided training: where its gradient lives, that ranked guidance orders a density, what a step costs."""

import functools

import lightning
import pytest
import torch

from harmony.core.batch import draws
from harmony.data import CurveCorruption
from harmony.flows import harmonizing_flow, spline_flow
from harmony.networks import Harmonizer
from harmony.tasks import AdaptationWalk, FlowTask, Guidance, RankedGuidance
from harmony.tasks.ranked import grey_distance

ADAM = functools.partial(torch.optim.Adam, lr=1e-3)
GAINS = CurveCorruption(
    shares=(0.0, 1.0, 0.0), dyadic_levels=2, middle=0.6, shift=0.0, gain=(0.3, 0.9), gamma=(1.0, 1.0), probability=1.0
)
WALK = AdaptationWalk(
    network=functools.partial(Harmonizer, widths=(4, 4)),
    optimizer=torch.optim.Adam,
    rate=(1e-3, 1e-2),
    steps=3,
    share=1.0,
)
FLOWS = {
    "spline": functools.partial(
        spline_flow, levels=2, steps=1, hidden_channels=4, blocks=1, bins=4, tail_bound=3.0, min_bin_width=1e-3,
        min_bin_height=1e-3, min_derivative=1e-3, bits=8, seed=0,
    ),
    "harmonizing": functools.partial(
        harmonizing_flow, levels=1, couplings=2, widths=(4, 4), logit_margin=1e-5, dequantization="variational", bits=8,
        seed=0, recompute=True,
    ),
}  # fmt: skip


def clipped(**changes):
    settings = {"probability": 1.0, "threshold": 0.0, "every": 5, "floor": 1.0}
    return Guidance(corruption=GAINS, **(settings | changes))


def ranked(**changes):
    settings = {"walk": None, "share": 0.5, "weight": 0.5, "slope": 0.06, "power": 0.5, "least": 1e-6, "every": 2}
    return RankedGuidance(corruption=GAINS, **(settings | changes))


def pictures(count=4):
    image = 0.2 + 0.8 * torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(image, dtype=torch.bool)
    mask[..., :4] = False
    return torch.where(mask, image, 0), mask


def task(guided, network=None):
    network = FLOWS["spline"]() if network is None else network
    return FlowTask(network=network, reference=None, optimizer=ADAM, max_steps=4, guided=guided, compile=False, seed=0)


@pytest.mark.parametrize("level", [0.5, 3.0, 11.0])
def test_the_hinge_pulls_before_its_margin_and_not_beyond_at_any_level_of_bits(level):
    """m(4) = 0.06 * 2 = 0.12 bits."""
    truth = torch.full((2,), level, requires_grad=True)
    altered = (level + torch.tensor([0.11, 0.13])).requires_grad_()
    ranked().hinge(truth, altered, torch.tensor([4.0, 4.0])).sum().backward()
    torch.testing.assert_close(altered.grad, torch.tensor([-1 / 0.12, 0.0]))
    torch.testing.assert_close(truth.grad, torch.tensor([1 / 0.12, 0.0]))


def test_the_margin_grows_with_the_distance_and_is_steepest_near_the_truth():
    distance, truth = torch.tensor([0.25, 1.0, 4.0, 9.0]), torch.full((4,), 3.0)
    for guided, margin in (
        (ranked(), [0.03, 0.06, 0.12, 0.18]),
        (ranked(power=1.0), [0.015, 0.06, 0.24, 0.54]),
        (ranked(least=1.0), [0.06, 0.06, 0.12, 0.18]),
    ):
        at = torch.tensor(margin)
        torch.testing.assert_close(guided.hinge(truth, truth + at / 4, distance), torch.full((4,), 0.75))
        torch.testing.assert_close(guided.hinge(truth, truth + 2 * at, distance), torch.zeros(4))


@pytest.mark.parametrize("flow", FLOWS)
def test_nothing_altered_is_nothing_told_apart(flow):
    """Equal images of a pair get the same noise, and cost the same: they lack the whole margin, to the last bit."""
    density = FLOWS[flow]().eval()
    image, mask = pictures()
    guided = ranked(share=1.0)
    guided.altered = lambda image, *_: image
    made = guided.step(density, image, mask, draws(0, 0))
    torch.testing.assert_close(made.loss, made.clean + 0.5)


def test_the_distance_is_in_grey_levels_inside_the_brain():
    image, mask = pictures(2)
    altered = torch.where(mask, image + 2 / 255, image + 0.5)
    torch.testing.assert_close(grey_distance(altered, image, mask), torch.tensor([2.0, 2.0]), rtol=1e-4, atol=0)
    assert grey_distance(altered, image, torch.zeros_like(mask)).tolist() == [0.0, 0.0]


def test_a_ranked_step_by_hand():
    """Clean slices cost their mean, a pair the share that it lacks of its margin; nothing else is in the loss."""

    class Brightness(torch.nn.Module):
        def bits_per_dim(self, image, draw, noise_of):
            return 10 * image.flatten(1).mean(1)  # what is dark is likely

    image, mask = pictures()
    guided = ranked()
    made = guided.step(Brightness(), image, mask, draws(0, 0))
    altered = guided.altered(image[:2], mask[:2], draws(0, 0))
    clean, worse = (10 * each.flatten(1).mean(1) for each in (image, altered))
    lacks = 1 - (worse - clean[:2]) / (0.06 * grey_distance(altered, image[:2], mask[:2]).sqrt())
    assert (lacks > 0).all()
    torch.testing.assert_close(made.loss, clean.mean() + 0.5 * lacks.mean())
    torch.testing.assert_close(made.clean, clean.mean())
    assert made.acts == 1


class Tilt(torch.nn.Module):
    """Nats of the density exp(tilt m) / Z over the mean m of a slice in [0, 1], Z = (exp(tilt) - 1) / tilt."""

    def __init__(self):
        super().__init__()
        self.tilt = torch.nn.Parameter(torch.tensor(0.01))

    def bits_per_dim(self, image, draw, noise_of=None):
        return self.tilt.expm1().div(self.tilt).log() - self.tilt * image.flatten(1).mean(1)


def test_ranked_training_orders_a_toy_density():
    """Clean slices of mean 0.4875 have the largest likelihood at a tilt of -0.15, where every darker copy is likelier.

    Of a copy darker by d grey levels inside the brain, 3/4 of the slice, the mean is 3/4 d/255 less: with the margin
    slope * d every pair is content from a tilt of slope * 255 * 4/3 on, and none below.
    """
    _, mask = pictures()
    image = torch.where(mask, 0.65, 0.0)

    def trained(step):
        density = Tilt()
        optimizer = torch.optim.Adam(density.parameters(), lr=0.005)
        for k in range(400):
            optimizer.zero_grad()
            step(density, draws(0, k)).backward()
            optimizer.step()
        return density.tilt.item()

    slope = 0.4 / (255 * 4 / 3)
    guided = ranked(share=1.0, slope=slope, power=1.0, weight=0.05)
    plain = trained(lambda density, draw: density.bits_per_dim(image, draw).mean())
    assert plain == pytest.approx(12 * (0.4875 - 0.5), abs=0.01)
    assert trained(lambda density, draw: guided.step(density, image, mask, draw).loss) == pytest.approx(0.4, abs=0.02)


def test_little_is_shown_most():
    """Of u^2 half is below 1/4."""
    image, mask = pictures(1)
    image, mask = (each.expand(400, -1, -1, -1) for each in (image, mask))
    all_of_it = CurveCorruption(
        shares=(0.0, 1.0, 0.0),
        dyadic_levels=2,
        middle=0.6,
        shift=0.0,
        gain=(0.5, 0.5),
        gamma=(1.0, 1.0),
        probability=1.0,
    )
    guided = RankedGuidance(
        corruption=all_of_it, walk=None, share=1.0, weight=1.0, slope=1.0, power=1.0, least=1.0, every=2
    )
    distance = grey_distance(guided.altered(image, mask, draws(0, 0)), image, mask)
    whole = grey_distance(0.5 * image, image, mask)
    assert float((distance / whole).median()) == pytest.approx(0.25, abs=0.05)
    assert float((distance / whole).max()) > 0.95


@pytest.mark.parametrize("flow", FLOWS)
def test_a_walk_goes_down_the_flow_and_leaves_it_as_it_was(flow):
    torch.manual_seed(0)
    density = FLOWS[flow]()
    image, mask = pictures()
    density.bits_per_dim(image, draws(0, 0))  # the first batch sets the norms
    before = {name: values.clone() for name, values in density.state_dict().items()}
    walk = AdaptationWalk(
        network=functools.partial(Harmonizer, widths=(4, 4)),
        optimizer=torch.optim.Adam,
        rate=(3e-3, 3e-3),
        steps=30,
        share=1.0,
    )
    made = walk.outputs(density, image, mask, draws(0, 4))
    assert density.training
    assert all(parameter.grad is None for parameter in density.parameters())
    assert all(torch.equal(values, before[name]) for name, values in density.state_dict().items())
    assert not made.requires_grad
    assert not made[~mask].any()
    with torch.no_grad():
        density.eval()
        assert density.bits_per_dim(made).mean() < density.bits_per_dim(image).mean()


def test_a_walk_is_a_function_of_the_generator_alone():
    density = FLOWS["spline"]()
    image, mask = pictures()
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        found.append(WALK.outputs(density, image, mask, draws(0, 7)))
        assert torch.rand(()) == torch.rand((), generator=torch.Generator().manual_seed(state))
    assert torch.equal(*found)
    assert not torch.equal(found[0], WALK.outputs(density, image, mask, draws(0, 8)))


@pytest.mark.parametrize("flow", FLOWS)
def test_published_guidance_is_what_it_was(flow):
    """The step as it was written before it had a family."""
    torch.manual_seed(0)
    density = FLOWS[flow]()
    image, mask = pictures()
    for floor in (1.0, 20.0):
        guided = clipped(floor=floor, probability=0.5)
        draw = draws(0, 3)
        shown, label = guided.training(image, mask, draw)
        former = (label * density.bits_per_dim(shown, draw)).clamp(min=-floor).mean()
        made = guided.step(density, image, mask, draws(0, 3))
        assert torch.equal(made.loss, former)
        ours, theirs = (
            torch.autograd.grad(loss, list(density.parameters()), allow_unused=True) for loss in (made.loss, former)
        )
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert float(made.acts) == (floor == 20.0)


@pytest.mark.parametrize(
    ("guided", "silent"), [(clipped(), False), (clipped(floor=20.0), True), (ranked(walk=WALK), True), (None, True)]
)
def test_a_run_whose_guidance_never_acted_says_so(guided, silent, capsys):
    image, mask = pictures()
    batch = {"image": image, "mask": mask, "position": torch.linspace(0, 1, 4), "subject": torch.arange(4)}
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(accelerator="cpu", max_steps=2, **quiet)
    trainer.fit(task(guided), torch.utils.data.DataLoader([batch, batch], batch_size=None))
    assert ("guidance never acted" in capsys.readouterr().out) != silent
    if guided is not None:
        assert bool(trainer.callback_metrics["flow/guidance_acts"]) == silent


def test_a_resumed_run_remembers_that_its_guidance_acted():
    first, second, checkpoint = task(clipped()), task(clipped()), {}
    first.acted = torch.tensor(0.5)
    first.on_save_checkpoint(checkpoint)
    second.on_load_checkpoint(checkpoint)
    assert float(second.acted) == 0.5
    second.on_load_checkpoint({})  # of before there was any
    assert float(second.acted) == 0
