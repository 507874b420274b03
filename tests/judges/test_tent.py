"""TENT moves normalisation scales and shifts of a copy, lowers the entropy, and can be put back."""

import functools

import pytest
import torch

from harmony.core import Stack
from harmony.judges import Segmentation, Tent, Truth
from harmony.metrics import prediction_entropy
from harmony.networks import segmentation_unet

STRUCTURES = {"csf": 1, "gm": 2}


@pytest.fixture(params=["batch", "instance"])
def segmenter(request):
    torch.manual_seed(0)
    network = segmentation_unet(in_channels=1, out_channels=3, widths=(4, 8), residual_units=1, norm=request.param)
    network(torch.rand(8, 1, 16, 16))  # running statistics
    return network.eval().requires_grad_(False)


@pytest.fixture
def stacks():
    generator = torch.Generator().manual_seed(1)
    images = [0.2 + 0.8 * torch.rand(6, 1, 16, 16, generator=generator) for _ in range(2)]
    return [Stack(image, image > 0, torch.linspace(0, 1, 6)) for image in images]


def tent(segmenter, **changes):
    adam = functools.partial(torch.optim.Adam, lr=1e-2)
    settings = {"structures": STRUCTURES, "optimizer": adam, "passes": 4, "batch": 4, "seed": 0} | changes
    return Tent(segmenter=segmenter, **settings)


def predictions(judge, stacks):
    with torch.no_grad():
        return torch.cat([judge.judge.segmenter(stack.image) for stack in stacks])


def entropy(judge, stacks):
    return prediction_entropy(predictions(judge, stacks), torch.cat([stack.image for stack in stacks])).mean()


def test_it_grows_surer_and_only_scales_and_shifts_move(segmenter, stacks):
    judge = tent(segmenter)
    before = {name: value.clone() for name, value in judge.judge.segmenter.named_parameters()}
    unsure = entropy(judge, stacks)
    judge.adapt(stacks)
    surer = entropy(judge, stacks)
    assert surer < unsure
    norms = {id(parameter) for norm in judge.norms for parameter in norm.parameters()}
    for name, parameter in judge.judge.segmenter.named_parameters():
        assert torch.equal(parameter, before[name]) == (id(parameter) not in norms), name


def test_reset_puts_everything_back_and_the_source_never_changed(segmenter, stacks):
    source = {name: value.clone() for name, value in segmenter.state_dict().items()}
    judge = tent(segmenter)
    fresh = predictions(judge, stacks)
    judge.adapt(stacks)
    adapted = predictions(judge, stacks)
    assert not torch.equal(adapted, fresh)
    judge.reset()
    assert torch.equal(predictions(judge, stacks), fresh)
    judge.adapt(stacks)
    assert torch.equal(predictions(judge, stacks), adapted)  # the same order of slices again
    assert all(torch.equal(value, source[name]) for name, value in segmenter.state_dict().items())


def test_statistics_are_those_of_the_batch(stacks):
    torch.manual_seed(0)
    segmenter = segmentation_unet(in_channels=1, out_channels=3, widths=(4, 8), residual_units=1, norm="batch")
    plain, ours = segmenter.eval(), tent(segmenter).judge.segmenter
    brighter = stacks[0].image * 0.5 + 0.1
    assert not torch.allclose(ours(stacks[0].image), plain(stacks[0].image), atol=1e-3)
    assert torch.allclose(ours(stacks[0].image), segmenter.train()(stacks[0].image), atol=1e-5)
    assert ours.training is False
    assert not torch.equal(ours(brighter), ours(stacks[0].image))


def test_without_a_pass_it_is_the_segmenter_with_batch_statistics(segmenter, stacks):
    judge = tent(segmenter, passes=0)
    fresh = predictions(judge, stacks)
    judge.adapt(stacks)
    assert torch.equal(predictions(judge, stacks), fresh)


def test_it_scores_as_the_segmentation_judge_does(segmenter, stacks):
    judge = tent(segmenter)
    truth = Truth("sub-1", (2.0, 2.0, 2.0), torch.randint(0, 3, (6, 16, 16)), None)
    same = Segmentation(segmenter=judge.judge.segmenter, structures=STRUCTURES, batch=4)
    assert judge.score(stacks[0], truth) == same.score(stacks[0], truth)
    assert judge.trivial(stacks[0], truth) == same.trivial(stacks[0], truth)


def test_a_segmenter_without_normalisation_is_refused():
    with pytest.raises(ValueError, match="normalisation"):
        tent(torch.nn.Conv2d(1, 3, 1))
