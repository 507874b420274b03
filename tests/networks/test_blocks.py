import math

import torch

from harmony.networks import concat_elu
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


def test_in_pieces_concat_elu_is_what_it_was(monkeypatch) -> None:
    """Forward and backward, of two parts and of a last piece that is not full, on a gradient that lies otherwise."""
    noise = torch.Generator().manual_seed(0)
    parts = [
        torch.randn(2, channels, 5, 7, generator=noise).contiguous(memory_format=torch.channels_last)
        for channels in (3, 5)
    ]
    weight = torch.randn(2, 16, 5, 7, generator=noise)
    found = []
    for worth_it in (0, 1 << 30):
        monkeypatch.setattr(concat_elu, "_WORTH_IT", worth_it)
        monkeypatch.setattr(concat_elu, "_PIECE", 64)
        given = [x.clone(memory_format=torch.preserve_format).requires_grad_() for x in parts]
        out = ConcatELU()(tuple(given))
        assert ("ConcatELU" in type(out.grad_fn).__name__) == (worth_it == 0)
        found.append([out, *torch.autograd.grad((out * weight).sum(), given)])
    old = torch.nn.functional.elu(torch.cat((*parts, *(-x for x in parts)), dim=1))
    torch.testing.assert_close(found[0][0], old, atol=1e-7, rtol=0)
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, atol=2e-7, rtol=0)
