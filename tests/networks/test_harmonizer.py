"""Both kinds of harmonizer, plain and reading a second image for context: shapes, neutral point, laws."""

import pytest
import torch
from torch import Tensor

from harmony.networks.harmonizer import Affine, Harmonizer

WIDTHS = (16, 32, 48, 64, 64)
KINDS = {"plain": False, "context": True}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def new(kind: str, widths: tuple[int, ...] = WIDTHS) -> Harmonizer:
    torch.manual_seed(0)
    return Harmonizer(widths=widths, context=KINDS[kind])


def stirred(kind: str, widths: tuple[int, ...] = (4, 6, 8)) -> Harmonizer:
    """A network away from its neutral point."""
    network = new(kind, widths)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return network


def seen(kind: str, count: int = 2, height: int = 16, width: int = 16, **settings: torch.dtype) -> list[Tensor]:
    """What a harmonizer of this kind is given: the image to map, and its context where it reads one."""
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(count, 1, height, width, generator=generator, **settings) for _ in range(1 + KINDS[kind])]


@pytest.mark.parametrize(("kind", "count"), [("plain", 816_594), ("context", 816_594 + 9 * 16)])
def test_parameter_count_of_the_paper(kind: str, count: int) -> None:
    assert sum(p.numel() for p in new(kind).parameters()) == count


@EVERY_KIND
@pytest.mark.parametrize("size", [(16, 16), (48, 80)])
def test_shapes_for_any_divisible_size(kind: str, size: tuple[int, int]) -> None:
    alpha, beta = new(kind)(*seen(kind, 2, *size))
    assert alpha.shape == (2, 1, 1, 1)
    assert beta.shape == (2, 1, *size)


@EVERY_KIND
@pytest.mark.parametrize("shape", [(1, 1, 16, 18), (1, 2, 16, 16), (1, 16, 16)])
def test_other_shapes_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="divisible by 16"):
        new(kind)(torch.rand(shape), *seen(kind)[1:])


@EVERY_KIND
def test_neutral_point_returns_the_input_exactly(kind: str) -> None:
    network, given = stirred(kind), seen(kind, 3, 16, 20)
    assert not torch.equal(network(*given).apply(given[0]), given[0])
    network.reset_to_identity()
    assert torch.equal(network(*given).apply(given[0]), given[0])
    given = seen(kind, 1, 32, 16)
    assert torch.equal(new(kind)(*given).apply(given[0]), given[0])


@EVERY_KIND
def test_a_new_network_can_leave_the_neutral_point(kind: str) -> None:
    network, given = new(kind, (4, 6, 8)), seen(kind, 4)
    target = 0.5 * given[0] + 0.2
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = (network(*given).apply(given[0]) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


@EVERY_KIND
def test_gain_sees_the_whole_image_and_images_do_not_mix(kind: str) -> None:
    network, given = stirred(kind).double(), seen(kind, dtype=torch.float64)
    for changed in range(len(given)):
        other = [image.clone() for image in given]
        other[changed][1] = torch.rand(1, 16, 16)
        alpha, beta = network(*given)
        alpha_other, beta_other = network(*other)
        torch.testing.assert_close(alpha[0], alpha_other[0])
        torch.testing.assert_close(beta[0], beta_other[0])
        assert not torch.allclose(alpha[1], alpha_other[1])


@EVERY_KIND
def test_every_image_that_is_read_has_a_gradient(kind: str) -> None:
    network, given = stirred(kind), [image.requires_grad_() for image in seen(kind)]
    network(*given).beta.sum().backward()
    assert all(image.grad is not None and image.grad.abs().max() > 0 for image in given)


@EVERY_KIND
def test_memory_format_does_not_change_the_result(kind: str) -> None:
    network, given = stirred(kind).double(), seen(kind, 2, 16, 24, dtype=torch.float64)
    plain = network(*given).apply(given[0])
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    last = [image.contiguous(memory_format=torch.channels_last) for image in given]
    torch.testing.assert_close(network(*last).apply(given[0]), plain)


@EVERY_KIND
def test_heads_are_the_two_heads(kind: str) -> None:
    assert sum(p.numel() for p in new(kind).heads()) == 64 + 1 + 16 + 1


@EVERY_KIND
def test_the_other_kinds_images_are_refused(kind: str) -> None:
    image, *context = seen(kind)
    other = [] if context else [image]
    with pytest.raises(ValueError, match=f"reads {'a' if context else 'no'} context"):
        new(kind)(image, *other)


def test_affine_by_hand() -> None:
    image = torch.tensor([[0.25, 0.5]]).view(1, 1, 1, 2)
    affine = Affine(torch.full((1, 1, 1, 1), 2.0), torch.tensor([[-1.0, 1.0]]).view(1, 1, 1, 2))
    assert affine.apply(image).flatten().tolist() == [-0.5, 2.0]  # neither clamped nor masked
