"""The image-to-image network: where it starts, what it may not touch; and the critic of its images."""

import pytest
import torch

from harmony.networks import PatchCritic, Translator


@pytest.fixture
def image():
    return torch.rand(2, 1, 21, 26, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask(image):
    inside = torch.zeros_like(image, dtype=torch.bool)
    inside[..., 3:18, 4:22] = True
    return inside


def moved(network):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network


def test_a_new_network_gives_back_its_input_bit_for_bit(image, mask):
    x = torch.where(mask, image, 0)
    assert torch.equal(Translator(widths=[4, 4, 4], residual_units=1)(x, mask), x)


def test_range_and_background_are_part_of_the_network_whatever_its_weights(image, mask):
    output = moved(Translator(widths=[4, 4, 4], residual_units=1))(10 * image, mask)
    assert output.shape == image.shape
    assert (output[~mask] == 0).all()
    assert output.min() == 0
    assert output.max() == 1


def test_every_weight_gets_a_gradient_after_the_first_step(image, mask):
    network = moved(Translator(widths=[4, 4, 4], residual_units=1))
    with torch.no_grad():
        network.residual.weight.mul_(0.01)
        network.residual.bias.zero_()
    network(image, mask).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_the_critic_scores_patches(image):
    scores = PatchCritic(width=4, layers=2)(image)
    assert scores.shape[:2] == (2, 1)
    assert scores[0].numel() > 4
    assert not torch.equal(PatchCritic(width=4, layers=2)(1 - image), scores)
