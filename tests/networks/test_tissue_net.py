"""The tissue network: what a slice of its maps may depend on."""

import pytest
import torch

from harmony.networks import TissueNet


@pytest.fixture
def network():
    torch.manual_seed(0)
    return TissueNet(tissues=("csf", "grey", "white"), widths=[8, 8]).eval()


@torch.no_grad()
def test_a_slice_sees_its_two_neighbours_and_no_other(network):
    volume = torch.rand(2, 2, 7, 10, 13)  # no size that the network can halve
    changed = volume.clone()
    changed[1, :, 3] += 1.0
    before, after = network(volume), network(changed)
    assert before.shape == (2, 3, 7, 10, 13)
    differs = (before != after).flatten(3).any(3).any(1)
    assert differs.tolist() == [[False] * 7, [False, False, True, True, True, False, False]]


@torch.no_grad()
def test_beyond_the_ends_there_is_nothing(network):
    volume = torch.rand(1, 2, 3, 16, 16)
    longer = torch.nn.functional.pad(volume, (0, 0, 0, 0, 1, 1))
    torch.testing.assert_close(network(volume), network(longer)[:, :, 1:-1])


@torch.no_grad()
def test_logits_are_of_the_volumes_kind_whatever_the_networks_is(network):
    """Its type here; on a card its device, by the same two words."""
    volume = torch.rand(1, 2, 3, 16, 16)
    logits = network.double()(volume)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, network.float()(volume))


@torch.no_grad()
def test_above_and_below_are_told_apart(network):
    volume = torch.rand(1, 2, 3, 16, 16)
    assert not torch.allclose(network(volume), network(volume.flip(2)).flip(2), atol=1e-4)
