"""Both flows on a CUDA card: the numbers of the CPU, the same twice, resumed, in bfloat16 and compiled."""

import copy
import io

import pytest
import torch
from flow_cases import FLOWS

from harmony.core import Stack
from harmony.core.reference import Reference
from harmony.distances import StructuralDistance
from harmony.methods import Alternating, BlindHarmony

CARD = "cuda"
NAMES = ["splines, 3 levels", "harmonizing, recomputed"]
pytestmark = [pytest.mark.gpu, pytest.mark.parametrize("name", NAMES)]


@pytest.fixture(autouse=True)
def _whole_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def flow(name, **changes):
    torch.manual_seed(0)
    return FLOWS[name].new(**changes)


def images(count=4):
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def steps(density, optimizer, count, first=0):
    for k in range(first, first + count):
        optimizer.zero_grad()
        density.bits_per_dim(images().to(CARD), torch.Generator().manual_seed(k)).mean().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten().cpu() for p in density.parameters()])


def adam(density):
    return torch.optim.Adam(density.parameters(), lr=1e-3)


@torch.no_grad()
def test_the_numbers_are_those_of_the_cpu(name):
    density = flow(name)
    density.bits_per_dim(images())
    here, there = density.eval(), copy.deepcopy(density).eval().to(CARD)
    ours, theirs = here.encode(images()), there.encode(images().to(CARD))
    torch.testing.assert_close(theirs.z.cpu(), ours.z, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(there.decode(theirs.z).cpu(), images(), atol=2e-3, rtol=0)
    torch.testing.assert_close(
        there.bits_per_dim(images().to(CARD)).cpu(), here.bits_per_dim(images()), atol=1e-4, rtol=0
    )


def test_the_same_twice_and_resumed(name):
    densities = [flow(name).to(CARD) for _ in range(3)]
    whole, again = (steps(density, adam(density), 4) for density in densities[:2])
    torch.testing.assert_close(again, whole, atol=1e-4, rtol=0)
    density = densities[2]
    optimizer, file = adam(density), io.BytesIO()
    steps(density, optimizer, 2)
    torch.save((density.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    kept = torch.load(file, weights_only=True)
    density = flow(name).to(CARD)
    optimizer = adam(density)
    density.load_state_dict(kept[0])
    optimizer.load_state_dict(kept[1])
    torch.testing.assert_close(steps(density, optimizer, 2, first=2), whole, atol=1e-4, rtol=0)


@torch.no_grad()
def test_bfloat16_moves_the_bits_little(name):
    density = flow(name).to(CARD)
    density.bits_per_dim(images().to(CARD))
    fast = flow(name, conditioner_dtype="bfloat16").to(CARD)
    fast.load_state_dict(density.state_dict())
    ours, theirs = (d.eval().bits_per_dim(images().to(CARD)) for d in (density, fast))
    torch.testing.assert_close(theirs, ours, atol=0.02, rtol=0)


def test_compiled_it_trains_to_the_same_weights(name):
    plain, compiled = flow(name).to(CARD), flow(name).to(CARD)
    compiled.transform.compile()
    torch.testing.assert_close(steps(compiled, adam(compiled), 2), steps(plain, adam(plain), 2), atol=1e-3, rtol=0)


def test_a_full_card_ends_in_a_smaller_batch_with_the_same_result(name):
    density = flow(name).to(CARD)
    image = images(256).to(CARD)
    stack = Stack(image, torch.ones_like(image, dtype=torch.bool), torch.linspace(0, 1, 256, device=CARD))
    reference = Reference(torch.rand(3, 1, 16, 16), torch.rand(3, 8), torch.ones(3))
    distance = StructuralDistance(b1=0.2, relative=True, b2=1e-3, centered=False, percentile=30, floor=0.05)
    solver = Alternating(iterations=2, alpha=1e-3, keep_level=True)

    def made(batch):
        method = BlindHarmony(density=density, reference=reference, distance=distance, solver=solver, batch=batch)
        return method.harmonize(stack).image, method.batch

    torch.cuda.reset_peak_memory_stats()
    small, _ = made(16)
    enough = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(2 * enough / total)
    try:
        whole, ended_at = made(256)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert ended_at < 256
    torch.testing.assert_close(whole, small, atol=1e-4, rtol=0)
