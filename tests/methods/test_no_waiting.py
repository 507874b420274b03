"""Nothing inside a step makes the host wait for the device: no value or tensor is fetched, none is sent unpinned.

The device "meta" stands in for a card: its tensors have no numbers, so that whatever asks for one fails there, and
every move between it and the host can be seen. A real card tells by itself, see `test_on_a_card`.
"""

import functools
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from harmony.core import Stack
from harmony.core.reference import Reference
from harmony.distances import StructuralDistance
from harmony.flows import harmonizing_flow, spline_flow
from harmony.flows.layers import ActNorm
from harmony.methods import Alternating, Budget, HarmonizingFlows, ImageSpace, LatentSpace
from harmony.methods.jacobian import curve_log_jacobian
from harmony.networks import Harmonizer
from harmony.tasks.guided import of_clean

SGD = functools.partial(torch.optim.SGD, lr=1e-3)  # Adam counts its steps on the host, without looking at the device
SPLINES = {
    "levels": 2, "steps": 1, "hidden_channels": 4, "blocks": 1, "bins": 4, "tail_bound": 3, "min_bin_width": 1e-3,
    "min_bin_height": 1e-3, "min_derivative": 1e-3, "bits": 8, "seed": 0,
}  # fmt: skip
COUPLINGS = {
    "levels": 1, "couplings": 2, "widths": (4, 4), "logit_margin": 1e-5, "dequantization": "variational", "bits": 8,
    "seed": 0, "recompute": True,
}  # fmt: skip
FLOWS = {"spline": lambda: spline_flow(**SPLINES), "harmonizing": lambda: harmonizing_flow(**COUPLINGS)}
SOLVERS = {
    "alternating": Alternating(iterations=2, alpha=1e-3, keep_level=True),
    "image": ImageSpace(iterations=2, alpha=1e-3, first_step=0.1),
    "latent": LatentSpace(iterations=2, alpha=1e-3, first_step=0.1),
}


class Moves(TorchDispatchMode):
    """Lists what makes the host wait: numbers asked for, and moves between card and host that are not queued."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = function(*args, **kwargs)
        source = args[0].device.type if args and isinstance(args[0], torch.Tensor) else None
        name = function.overloadpacket.__name__
        queued = kwargs.get("non_blocking", False)
        crossed = isinstance(made, torch.Tensor) and source is not None and made.device.type != source and not queued
        if crossed or name in {"_local_scalar_dense", "nonzero", "masked_select"}:
            self.seen.append(str(function))
        return made


class Lists(TorchFunctionMode):
    """Notes numbers of the host that are made a tensor, which would have to be sent."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in {torch.tensor, torch.as_tensor, torch.Tensor.new_tensor}:
            self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


@contextmanager
def watched():
    with Moves() as moves, Lists(moves.seen):
        yield moves.seen


def flow(name, device):
    torch.manual_seed(0)
    with torch.device(device):
        return FLOWS[name]()


def picture(device):
    image = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)).to(device)
    return image, image > 0.2


def training(name, device):
    density, (image, _) = flow(name, device), picture(device)
    optimizer, noise = SGD(density.parameters()), torch.Generator().manual_seed(0)
    for layer in density.modules():
        if isinstance(layer, ActNorm):
            layer._known = True  # as after the first step, which may look

    def step():
        optimizer.zero_grad()
        density.bits_per_dim(image, noise).mean().backward()
        optimizer.step()

    return step


def adaptation(name, device):
    density, (image, mask) = flow(name, device), picture(device)
    with torch.device(device):
        harmonizer = Harmonizer(widths=(4, 4))
    reference = Reference(torch.zeros(2, 1, 1, 1), torch.zeros(2, 2), torch.ones(2))
    method = HarmonizingFlows(
        density=density, reference=reference, reference_bpd=0.0, harmonizer=harmonizer, optimizer=SGD,
        units="unit_interval", trainable="all", stop=Budget(passes=1), jacobian=0.1, guard=False,
        count=None, step=1, batch=2, seed=0,
    )  # fmt: skip
    slices = method._slices(Stack(image, mask, torch.zeros(2, device=device)))
    optimizer, noise = method._optimizer(), torch.Generator().manual_seed(0)
    part = torch.arange(2, device=device)
    return lambda: method._step(optimizer, slices[part], noise)


def iterations(solver, device):
    density, (image, mask) = flow("spline", device).eval().requires_grad_(False), picture(device)
    distance = StructuralDistance(b1=0.2, relative=True, b2=1e-3, centered=False, percentile=30, floor=0.05)
    to_query = distance.to(image, mask)
    return lambda: SOLVERS[solver].solve(density, to_query, image, mask)


STEPS = [(training, "spline"), (training, "harmonizing"), (adaptation, "spline"), (adaptation, "harmonizing")]
STEPS += [(iterations, name) for name in SOLVERS]


@pytest.mark.parametrize(("build", "name"), STEPS)
def test_a_step_asks_the_device_for_nothing(build, name, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none on "meta"
    step = build(name, "meta")
    with watched() as seen:
        step()
    assert seen == []


def test_the_mean_of_clean_slices_asks_for_nothing_and_is_that_mean():
    bpd, label = torch.tensor([1.0, 4.0, 3.0]), torch.tensor([1.0, -1.0, 1.0])
    assert of_clean(bpd, label).item() == 2.0
    with watched() as seen:
        of_clean(bpd, label)
    assert seen == []


@pytest.mark.gpu
@pytest.mark.parametrize(("build", "name"), STEPS)
def test_on_a_card(build, name):
    step = build(name, "cuda")
    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: x[x > 0].sum(),
        lambda x: x.sum().item(),
        lambda x: x.new_tensor([1.0, 2.0]) * 2,
        lambda x: x.cpu(),
        lambda x: torch.arange(3.0).to(x),
        lambda x: bool(x[0] > 0),
    ],
)
def test_the_stand_in_catches_what_waits(waits):
    x = torch.ones(3, device="meta")
    try:
        with watched() as seen:
            waits(x)
    except (NotImplementedError, RuntimeError) as refused:
        assert "meta" in str(refused).lower()  # noqa: PT017
    else:
        assert seen


def with_masks(image, output, mask):
    """The log-Jacobian as it was computed before, picking pixels and knots by boolean masks."""
    knots, flattest = 17, 1e-3
    x, y = image[mask], output[mask]
    place = x.clamp(0, 1) * (knots - 1)
    left = place.floor().clamp(max=knots - 2).long()
    share = place - left
    collect = lambda values: (  # noqa: E731
        torch.zeros(knots, dtype=x.dtype)
        .index_add(0, left, (1 - share) * values)
        .index_add(0, left + 1, share * values)
    )
    weight, total, moment = collect(torch.ones_like(x)), collect(y), collect(x)
    seen = weight > 1e-3 * len(x) / knots
    curve, at = total[seen] / weight[seen], moment[seen] / weight[seen]
    slope = (curve.diff() / at.diff()).clamp(min=flattest)
    return slope[torch.bucketize(x, at[1:-1].contiguous())].log2().sum() / image.numel()


@pytest.mark.parametrize("hole", [0.0, 0.3, 0.7])  # knots inside it are unseen
def test_the_log_jacobian_is_what_it_was(hole):
    noise = torch.Generator().manual_seed(0)
    image = torch.rand(3, 1, 20, 20, generator=noise)
    image = torch.where(image < 0.2, image, hole + (1 - hole) * image)
    mask = torch.rand(image.shape, generator=noise) > 0.5
    gain = torch.tensor(1.2, requires_grad=True)
    found, before = (f(image, (image * gain) ** 1.3, mask) for f in (curve_log_jacobian, with_masks))
    torch.testing.assert_close(found, before, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        *(torch.autograd.grad(value, gain)[0] for value in (found, before)), atol=1e-6, rtol=1e-5
    )
