import pytest
import torch

from harmony.networks.harmonizer import Affine, Harmonizer

WIDTHS = (16, 32, 48, 64, 64)


def stirred(widths: tuple[int, ...] = (4, 6, 8)) -> Harmonizer:
    """A network away from its neutral point."""
    torch.manual_seed(0)
    network = Harmonizer(widths=widths)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return network


def test_parameter_count_of_the_paper() -> None:
    assert sum(p.numel() for p in Harmonizer(widths=WIDTHS).parameters()) == 816_594


def test_affine_by_hand() -> None:
    image = torch.tensor([[0.25, 0.5]]).view(1, 1, 1, 2)
    affine = Affine(torch.full((1, 1, 1, 1), 2.0), torch.tensor([[-1.0, 1.0]]).view(1, 1, 1, 2))
    assert affine.apply(image).flatten().tolist() == [-0.5, 2.0]  # neither clamped nor masked


@pytest.mark.parametrize("size", [(16, 16), (48, 80)])
def test_shapes_for_any_divisible_size(size: tuple[int, int]) -> None:
    alpha, beta = Harmonizer(widths=WIDTHS)(torch.rand(2, 1, *size))
    assert alpha.shape == (2, 1, 1, 1)
    assert beta.shape == (2, 1, *size)


@pytest.mark.parametrize("shape", [(1, 1, 16, 18), (1, 2, 16, 16), (1, 16, 16)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="divisible by 16"):
        Harmonizer(widths=WIDTHS)(torch.rand(shape))


def test_neutral_point_returns_the_input_exactly() -> None:
    network, image = stirred(), torch.rand(3, 1, 16, 20)
    assert not torch.equal(network(image).apply(image), image)
    network.reset_to_identity()
    assert torch.equal(network(image).apply(image), image)
    new = Harmonizer(widths=WIDTHS)
    image = torch.rand(1, 1, 32, 16)
    assert torch.equal(new(image).apply(image), image)


def test_a_new_network_can_leave_the_neutral_point() -> None:
    torch.manual_seed(0)
    network, image = Harmonizer(widths=(4, 6, 8)), torch.rand(4, 1, 16, 16)
    target = 0.5 * image + 0.2
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = (network(image).apply(image) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def test_gain_sees_the_whole_image_and_images_do_not_mix() -> None:
    network, image = stirred().double(), torch.rand(2, 1, 16, 16, dtype=torch.float64)
    other = image.clone()
    other[1] = torch.rand(1, 16, 16)
    alpha, beta = network(image)
    alpha_other, beta_other = network(other)
    torch.testing.assert_close(alpha[0], alpha_other[0])
    torch.testing.assert_close(beta[0], beta_other[0])
    assert not torch.allclose(alpha[1], alpha_other[1])


def test_memory_format_does_not_change_the_result() -> None:
    network, image = stirred().double(), torch.rand(2, 1, 16, 24, dtype=torch.float64)
    plain = network(image).apply(image)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.testing.assert_close(network(image.contiguous(memory_format=torch.channels_last)).apply(image), plain)


def test_a_context_is_read_where_there_is_one_and_only_there() -> None:
    torch.manual_seed(0)
    image, context = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16, requires_grad=True)
    reading, plain = Harmonizer(widths=(4, 4), context=True), Harmonizer(widths=(4, 4))
    assert torch.equal(reading(image, context).apply(image), image)  # neutral like any new one
    torch.nn.init.ones_(reading.beta_head.weight)
    reading(image, context).beta.sum().backward()
    assert context.grad is not None
    assert context.grad.abs().max() > 0
    with pytest.raises(ValueError, match="reads a context"):
        reading(image)
    with pytest.raises(ValueError, match="reads no context"):
        plain(image, context)


def test_heads_are_the_two_heads() -> None:
    network = Harmonizer(widths=WIDTHS)
    assert sum(p.numel() for p in network.heads()) == 64 + 1 + 16 + 1
