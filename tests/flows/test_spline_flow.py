"""What only the spline flow has: its equality with a stock nflows build, its way through a checkpoint, its layers."""

import io

import pytest
import torch
from flow_cases import FLOWS, flow
from nflows.transforms import RandomPermutation
from stock_flow import stock_flow

from harmony.flows import spline_flow
from harmony.flows.layers import ActNorm, InvertibleConv1x1

WIDE = "splines, 2 levels, wide"
SPLINES = [name for name, case in FLOWS.items() if case.build is spline_flow]


@pytest.mark.parametrize("name", SPLINES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_same_numbers_as_stock_nflows(name, dtype, tolerance):
    density, image = flow(name)
    density, image = density.to(dtype), image.to(dtype)
    stock = stock_flow(density, *image.shape[2:], **FLOWS[name].settings)
    ours, theirs = density.encode(image), stock.encode(image)
    close = {"atol": tolerance, "rtol": tolerance}
    torch.testing.assert_close(ours.z, theirs.z, **close)
    torch.testing.assert_close(ours.logabsdet, theirs.logabsdet, **close)
    torch.testing.assert_close(density.bits_per_dim(image), stock.bits_per_dim(image), **close)
    z = torch.randn_like(image)
    torch.testing.assert_close(density.decode(z), stock.decode(z), **close)


def test_training_gives_the_gradients_and_statistics_of_stock_nflows():
    density, image = flow(WIDE)
    stock = stock_flow(density, 4, 8, **FLOWS[WIDE].settings)
    for one in (density, stock):
        one.train()
        one.bits_per_dim(image, torch.Generator().manual_seed(0)).mean().backward()
    for ours, theirs in zip(density.parameters(), stock.parameters(), strict=True):
        assert ours.grad.norm().item() == pytest.approx(theirs.grad.norm().item(), rel=1e-7, abs=1e-10)
    density.eval(), stock.eval()
    torch.testing.assert_close(density.bits_per_dim(image), stock.bits_per_dim(image), atol=1e-7, rtol=1e-7)


def test_checkpoint_keeps_what_the_first_batch_taught():
    torch.manual_seed(0)
    density, image = FLOWS[WIDE].new(), torch.rand(4, 1, 8, 8)
    density.bits_per_dim(image)  # in training: sets every ActNorm
    file = io.BytesIO()
    torch.save(density.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    twin = FLOWS[WIDE].new()
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
