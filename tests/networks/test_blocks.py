import math

import torch

from harmony.networks.blocks import ChannelNorm, ConcatELU, halve, upsample_to


def test_concat_elu_keeps_both_signs_and_leaves_its_input_alone() -> None:
    x = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1)
    out = ConcatELU()(x)
    expected = torch.tensor([2.0, math.exp(-1) - 1, math.exp(-2) - 1, 1.0])
    torch.testing.assert_close(out.flatten(), expected)
    assert x.flatten().tolist() == [2.0, -1.0]


def test_concat_elu_gradient() -> None:
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ConcatELU(), x)


def test_channel_norm_standardizes_each_pixel_over_its_channels() -> None:
    out = ChannelNorm(16)(3 + 5 * torch.randn(2, 16, 4, 5))
    torch.testing.assert_close(out.mean(1), torch.zeros(2, 4, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(1, unbiased=False), torch.ones(2, 4, 5), atol=1e-3, rtol=0)


def test_odd_maps_shrink_upwards_and_come_back() -> None:
    x = torch.zeros(1, 1, 5, 1)
    x[0, 0, 4, 0] = 7
    small = halve(x)
    assert small.shape == (1, 1, 3, 1)
    assert small[0, 0, 2, 0] == 7
    back = upsample_to(small, x)
    assert back.shape == x.shape
    assert back[0, 0, 4, 0] == 7  # corners are aligned


def test_concat_elu_of_parts_is_that_of_their_concatenation() -> None:
    parts = torch.randn(2, 3, 5, 7), torch.randn(2, 4, 5, 7)
    assert torch.equal(ConcatELU()(parts), ConcatELU()(torch.cat(parts, dim=1)))
