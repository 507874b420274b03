import pytest
import torch
from torch import nn

from harmony.networks.age_net import AgeNet
from harmony.networks.unet import segmentation_unet


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("size", [(16, 16), (37, 50), (5, 8)])
def test_unet_takes_any_size(norm: str, size: tuple[int, int]) -> None:
    network = segmentation_unet(in_channels=2, out_channels=4, widths=(4, 8, 8), residual_units=1, norm=norm)
    assert network(torch.rand(3, 2, *size)).shape == (3, 4, *size)


def test_unet_padding_is_the_background() -> None:
    torch.manual_seed(0)
    network = segmentation_unet(in_channels=1, out_channels=2, widths=(4, 8, 8), residual_units=2, norm="batch").eval()
    image = torch.zeros(1, 1, 16, 16)
    image[..., :13, :14] = torch.rand(13, 14)
    torch.testing.assert_close(network(image[..., :13, :14]), network(image)[..., :13, :14])


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("instance", nn.InstanceNorm2d)])
def test_unet_norms_can_be_adapted(norm: str, kind: type) -> None:
    network = segmentation_unet(in_channels=1, out_channels=2, widths=(4, 8), residual_units=1, norm=norm)
    norms = [module for module in network.modules() if isinstance(module, kind)]
    assert norms
    assert all(isinstance(module.weight, nn.Parameter) for module in norms)


def age_net() -> AgeNet:
    torch.manual_seed(0)
    return AgeNet(widths=(4, 8), age_mean=50.0, age_deviation=10.0).eval()


@pytest.mark.parametrize("size", [(16, 16), (7, 30), (1, 1)])
def test_age_net_takes_any_size_and_gives_one_age_a_volume(size: tuple[int, int]) -> None:
    ages = age_net()(torch.rand(6, 1, *size), torch.tensor([0, 0, 1, 1, 1, 2]))
    assert ages.shape == (3,)


def test_age_is_of_the_mean_over_the_volumes_own_slices() -> None:
    network, image = age_net(), torch.rand(5, 1, 12, 12)
    ages = network(image, torch.tensor([1, 0, 1, 0, 1]))
    alone = torch.stack([network(image[k : k + 1], torch.zeros(1, dtype=torch.long))[0] for k in range(5)])
    torch.testing.assert_close(ages, torch.stack([alone[[1, 3]].mean(), alone[[0, 2, 4]].mean()]))  # the head is linear


def test_age_is_in_years() -> None:
    network = age_net()
    nn.init.zeros_(network.head.weight)
    nn.init.constant_(network.head.bias, 1.5)
    assert network(torch.rand(2, 1, 8, 8), torch.tensor([0, 1])).tolist() == [65.0, 65.0]
    twin = AgeNet(widths=(4, 8), age_mean=0.0, age_deviation=1.0)
    twin.load_state_dict(network.state_dict())
    assert twin.age_mean == 50


def test_age_net_learns_brightness() -> None:
    torch.manual_seed(0)
    network = AgeNet(widths=(8, 8), age_mean=0.0, age_deviation=1.0)
    level = torch.rand(16)
    image = level.repeat_interleave(2).view(-1, 1, 1, 1) * torch.ones(32, 1, 8, 8)
    volume = torch.arange(16).repeat_interleave(2)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        loss = (network(image, volume) - level).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * level.var().item()
