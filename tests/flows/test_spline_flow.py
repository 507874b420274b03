"""The paper's architecture: its size, its equality with a stock nflows build, its way through a checkpoint."""

import io

import pytest
import torch
from flow_cases import FLOWS, SETTINGS, flow, trained
from nflows.transforms import RandomPermutation
from stock_flow import stock_flow

from harmony.flows import spline_flow
from harmony.flows.layers import ActNorm, InvertibleConv1x1

PAPER = {**SETTINGS, "levels": 4, "steps": 7, "hidden_channels": 96, "blocks": 3, "bins": 8, "bits": 12}


def test_paper_size():
    with torch.device("meta"):
        density = spline_flow(**PAPER)
    assert sum(p.numel() for p in density.parameters()) == 14_486_534


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_same_numbers_as_stock_nflows(name, dtype, tolerance):
    density, image = flow(name)
    density, image = density.to(dtype), image.to(dtype)
    levels, height, width = FLOWS[name]
    stock = stock_flow(density, height, width, **{**SETTINGS, "levels": levels})
    ours, theirs = density.encode(image), stock.encode(image)
    close = {"atol": tolerance, "rtol": tolerance}
    torch.testing.assert_close(ours.z, theirs.z, **close)
    torch.testing.assert_close(ours.logabsdet, theirs.logabsdet, **close)
    torch.testing.assert_close(density.bits_per_dim(image), stock.bits_per_dim(image), **close)
    z = torch.randn_like(image)
    torch.testing.assert_close(density.decode(z), stock.decode(z), **close)


def test_training_gives_the_gradients_and_statistics_of_stock_nflows():
    density, image = flow("2 levels, wide")
    stock = stock_flow(density, 4, 8, **{**SETTINGS, "levels": 2})
    for one in (density, stock):
        one.train()
        one.bits_per_dim(image, torch.Generator().manual_seed(0)).mean().backward()
    for ours, theirs in zip(density.parameters(), stock.parameters(), strict=True):
        assert ours.grad.norm().item() == pytest.approx(theirs.grad.norm().item(), rel=1e-7, abs=1e-10)
    density.eval(), stock.eval()
    torch.testing.assert_close(density.bits_per_dim(image), stock.bits_per_dim(image), atol=1e-7, rtol=1e-7)


def test_checkpoint_keeps_what_the_first_batch_taught():
    torch.manual_seed(0)
    density, image = spline_flow(levels=2, **SETTINGS), torch.rand(4, 1, 8, 8)
    density.bits_per_dim(image)  # in training: sets every ActNorm
    file = io.BytesIO()
    torch.save(density.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    twin = spline_flow(levels=2, **SETTINGS)
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert all(layer.initialized for layer in twin.modules() if isinstance(layer, ActNorm))
    before = [p.clone() for p in twin.parameters()]
    twin.bits_per_dim(2 * image)  # in training: must not set them again
    assert all(torch.equal(a, b) for a, b in zip(before, twin.parameters(), strict=True))
    density.bits_per_dim(2 * image)  # moves the same running statistics
    assert torch.equal(density.eval().bits_per_dim(image), twin.eval().bits_per_dim(image))


def test_first_batch_normalizes_every_channel():
    norm, x = ActNorm(3), torch.tensor([2.0, 1e-2, 5.0]).view(1, 3, 1, 1) * torch.randn(8, 3, 6, 6) + 7
    y, _ = norm(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (1, 3, 1, 1)])
def test_a_flat_first_batch_is_only_centred(shape):
    norm = ActNorm(3)
    y, logabsdet = norm(torch.full(shape, 0.25))
    assert (y == 0).all()
    assert (logabsdet == 0).all()


def test_one_by_one_convolution_starts_as_its_permutation():
    conv, x = InvertibleConv1x1(6), torch.randn(2, 6, 3, 3)
    assert isinstance(conv.permutation, RandomPermutation)
    torch.testing.assert_close(conv(x)[0], conv.permutation(x)[0])


def test_bfloat16_conditioners_stay_close():
    density, image = flow("3 levels")
    fast = spline_flow(levels=3, **SETTINGS, conditioner_dtype="bfloat16")
    fast.load_state_dict(density.state_dict())
    fast, density, image = fast.float().eval(), density.float(), image.float()
    exact, rough = density.bits_per_dim(image), fast.bits_per_dim(image)
    assert fast.encode(image).z.dtype == torch.float32
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(exact, rough, atol=0.05, rtol=0)


def test_any_size_with_one_set_of_weights():
    density = trained(spline_flow(levels=2, **SETTINGS), 0)
    for height, width in [(4, 4), (12, 20), (16, 4)]:
        image = torch.rand(1, 1, height, width, dtype=torch.float64)
        torch.testing.assert_close(density.decode(density.encode(image).z), image, atol=1e-8, rtol=0)
