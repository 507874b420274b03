import pytest
import torch

from harmony.networks.coupling_unet import CouplingUNet

WIDTHS = (16, 32, 48, 64)


def stirred(in_channels: int = 1, out_channels: int = 2, widths: tuple[int, ...] = (4, 6, 8, 8)) -> CouplingUNet:
    torch.manual_seed(0)
    network = CouplingUNet(in_channels=in_channels, out_channels=out_channels, widths=widths)
    torch.nn.init.normal_(network.last.weight)
    return network


@pytest.mark.parametrize(("channels", "out"), [(1, 2), (2, 2), (4, 8), (16, 32)])
def test_parameter_count(channels: int, out: int) -> None:
    network = CouplingUNet(in_channels=channels, out_channels=out, widths=WIDTHS)
    assert sum(p.numel() for p in network.parameters()) == 249_600 + 288 * channels + 17 * out


@pytest.mark.parametrize("size", [(1, 1), (2, 6), (7, 5), (8, 16), (36, 44)])
def test_any_size(size: tuple[int, int]) -> None:
    out = stirred()(torch.rand(2, 1, *size))
    assert out.shape == (2, 2, *size)
    assert out.isfinite().all()


def test_starts_at_zero() -> None:
    out = CouplingUNet(in_channels=4, out_channels=8, widths=WIDTHS)(torch.rand(1, 4, 8, 8))
    assert torch.equal(out, torch.zeros(1, 8, 8, 8))


def test_every_pixel_is_seen_where_sizes_are_odd() -> None:
    x = torch.rand(1, 1, 5, 7, dtype=torch.float64, requires_grad=True)
    stirred().double()(x).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()


def test_last_layer_is_its_convolution() -> None:
    net, kept = stirred(), []
    net.up[-1].register_forward_hook(lambda *args: kept.append(args[-1]))
    out = net(torch.randn(2, 1, 9, 7))
    torch.testing.assert_close(out, net.last(kept[-1]), atol=1e-6, rtol=0)
