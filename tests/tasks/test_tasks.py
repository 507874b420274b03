"""The losses of the tasks against hand-computed values, and what is deterministic in them."""

import functools
import itertools
import math

import pytest
import torch

from harmony.core import DataError, Stack
from harmony.core.batch import draws
from harmony.core.reference import Reference
from harmony.data import BroadCorruption, CurveCorruption
from harmony.networks import AgeNet, Harmonizer, segmentation_unet
from harmony.tasks import AgeTask, FlowTask, Guidance, HarmonizerTask, SegmenterTask
from harmony.tasks.judges import moved, segmentation_loss

ADAM = functools.partial(torch.optim.Adam, lr=1e-3)
CURVES = {
    "shares": (0.4, 0.4, 0.2),
    "dyadic_levels": 4,
    "middle": 0.6,
    "shift": 30.0,
    "gain": (0.5, 2.0),
    "gamma": (0.5, 1.5),
}
REFERENCE = Reference(torch.zeros(3, 1, 16, 16), torch.linspace(0, 1, 64).square().expand(3, 64), torch.ones(3))


@pytest.fixture
def batch():
    image = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return {
        "image": image,
        "mask": torch.ones_like(image, dtype=torch.bool),
        "position": torch.linspace(0, 1, 4),
        "subject": torch.tensor([0, 0, 1, 1]),
        "age": torch.tensor([30.0, 30.0, 60.0, 60.0]),
        "labels": torch.zeros(4, 1, 16, 16, dtype=torch.int16),
    }


def recorded(task):
    """Name -> the last value, or the metric, that the task logs."""
    logged = {}
    task.log = lambda name, value, **_: logged.update({name: value})
    return logged


def guidance(**changes):
    settings = {"probability": 1.0, "threshold": 20.0, "every": 5, "floor": 1.0}
    return Guidance(corruption=CurveCorruption(**CURVES, probability=1.0), **(settings | changes))


def test_guided_loss_by_hand():
    bpd, label = torch.tensor([3.0, 0.4, 5.0, 2.0]), torch.tensor([1.0, -1.0, -1.0, 1.0])
    assert guidance().loss(bpd, label).item() == pytest.approx((3 - 0.4 - 1 + 2) / 4)


def test_guided_gradient_is_zero_above_the_clip_and_signed_below():
    bpd = torch.tensor([3.0, 0.4, 5.0], requires_grad=True)
    guidance().loss(bpd, torch.tensor([1.0, -1.0, -1.0])).backward()
    torch.testing.assert_close(bpd.grad, torch.tensor([1.0, -1.0, 0.0]) / 3)


def test_validation_negatives_are_every_fifth_and_the_same_each_time():
    image = torch.rand(12, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(image, dtype=torch.bool)
    first, label = guidance().validation(image, mask, 3)
    again, _ = guidance().validation(image, mask, 3)
    assert torch.equal(first, again)
    assert (label < 0).nonzero().flatten().tolist() == [4, 9]
    assert torch.equal(first[label > 0], image[label > 0])
    assert not torch.equal(guidance().validation(image, mask, 4)[0], first)


def harmonizer_task(per_volume=False, corruption=None, context=False):
    corruption = corruption or CurveCorruption(**CURVES, probability=0.75)
    return HarmonizerTask(
        network=Harmonizer(widths=(4, 4), context=context),
        reference=REFERENCE,
        corruption=corruption,
        optimizer=ADAM,
        per_volume=per_volume,
        halve_every=10,
        seed=0,
    )


def test_harmonizer_loss_is_the_mse_in_grey_levels(batch):
    """An identity corruption and a harmonizer with bias 0.1: 25.5 grey levels everywhere."""
    nothing = CurveCorruption(**(CURVES | {"shares": (0.0, 1.0, 0.0)}), probability=0.0)
    task = harmonizer_task(corruption=nothing)
    assert task.loss(batch, draws(0, 0)).item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        task.harmonizer.beta_head.bias.fill_(0.1)
    assert task.loss(batch, draws(0, 0)).item() == pytest.approx(25.5**2, rel=1e-4)


def test_the_published_harmonizer_loss_is_over_all_pixels(batch):
    """A bias of 1/255 everywhere costs 1 over all pixels; inside the brain alone it costs 1 there."""
    task = harmonizer_task(corruption=CurveCorruption(**CURVES, probability=0.0))
    task.corruption.shares = (0.0, 1.0, 0.0)  # a chain of which no step happens
    batch["mask"][..., :8] = False
    batch["image"] = torch.where(batch["mask"], batch["image"], 0)
    with torch.no_grad():
        task.harmonizer.beta_head.bias.fill_(1 / 255)
    inside = task.loss(batch, draws(0, 0)).item()
    task.pixels = "all"
    assert (inside, task.loss(batch, draws(0, 0)).item()) == pytest.approx((1, 1), rel=1e-4)
    task.harmonizer.alpha_head.bias.data.fill_(0.5)
    task.harmonizer.beta_head.bias.data.fill_(0.0)
    expected = 255**2 * (0.5 * batch["image"]).square().mean().item()
    assert task.loss(batch, draws(0, 0)).item() == pytest.approx(
        expected, rel=1e-4
    )  # half of the pixels are background


@pytest.mark.parametrize(("halve_every", "rates"), [(None, [1.0, 0.5, 0.0]), (2, [1.0, 0.5, 0.25])])
def test_the_flows_rate_falls_along_a_cosine_or_is_halved(halve_every, rates):
    network = torch.nn.Linear(1, 1)
    task = FlowTask(
        network=network, reference=None, optimizer=functools.partial(torch.optim.Adam, lr=1.0), max_steps=4,
        guided=None, compile=False, seed=0, halve_every=halve_every,
    )  # fmt: skip
    made = task.configure_optimizers()
    found = []
    for step in range(5):
        if step % 2 == 0:
            found.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert found == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize("shift", [0, 3])
def test_training_slices_are_moved_where_a_random_crop_is_asked_for(batch, shift):
    seen = []

    class Density(torch.nn.Linear):
        def bits_per_dim(self, image, draw):
            seen.append(image)
            return image.flatten(1).mean(1)

    task = FlowTask(
        network=Density(1, 1),
        reference=None,
        optimizer=ADAM,
        max_steps=4,
        guided=None,
        compile=False,
        seed=0,
        keeps="last",
        shift=shift,
    )
    task.log = lambda *_, **__: None
    task.training_step(batch, 0)
    rolled = [batch["image"].roll((h, w), (2, 3)) for h in range(-shift, shift + 1) for w in range(-shift, shift + 1)]
    assert any(torch.equal(seen[0], each) for each in rolled)
    assert torch.equal(seen[0], batch["image"]) == (shift == 0)
    assert task.keeps == "last"


def test_a_harmonizer_with_context_starts_from_volumes_matched_to_the_reference(batch):
    nothing = CurveCorruption(**(CURVES | {"shares": (0.0, 1.0, 0.0)}), probability=0.0)
    task = harmonizer_task(corruption=nothing, context=True)
    image = batch["image"] * torch.tensor([0.5, 0.5, 1.0, 1.0]).view(4, 1, 1, 1)  # the two volumes differ in scale
    matched = [REFERENCE.match(Stack(*(batch[k][i : i + 2] for k in ("image", "mask", "position")))) for i in (0, 2)]
    wanted = 255**2 * (torch.cat(matched) - image).square().mean()
    assert task.loss(batch | {"image": image}, draws(0, 0)).item() == pytest.approx(wanted.item(), rel=1e-5)
    turned = {name: values.flip(0) for name, values in (batch | {"image": image}).items()}
    assert task.loss(turned, draws(0, 0)).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_harmonizer_validation_is_deterministic_and_training_is_not_frozen(batch):
    task = harmonizer_task()
    assert task.loss(batch, draws(0, 5)).item() == task.loss(batch, draws(0, 5)).item()
    assert task.loss(batch, draws(0, 5)).item() != task.loss(batch, draws(0, 6)).item()


def test_slices_of_a_volume_share_their_corruption_when_asked(batch):
    same = batch | {"image": batch["image"][:1].expand(4, 1, 16, 16)}
    corruption = BroadCorruption(
        contrast=0.0, bias=0.0, blur=2.0, noise=0.0, probability=1.0, order=2, intensities=2, percentile=99.5
    )
    drawn = []
    corruption_draw = corruption.draw
    corruption.draw = lambda *args: drawn.append(corruption_draw(*args)) or drawn[-1]
    harmonizer_task(True, corruption).loss(same, draws(0, 0))
    harmonizer_task(False, corruption).loss(same, draws(0, 0))
    shared, own = (parameters.blur for parameters in drawn)
    assert shared[0] == shared[1] != shared[2] == shared[3]
    assert len(own.unique()) == 4


def test_age_errors_by_hand_and_unknown_ages_are_left_out(batch):
    network = AgeNet(widths=(4,), age_mean=50.0, age_deviation=10.0).eval()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
    task = AgeTask(network=network, optimizer=ADAM, max_steps=10, mirror=True, shift=2, seed=0)
    some, nobody = ({"age": torch.tensor(ages)} for ages in ([torch.nan, torch.nan, 60.0, 60.0], 4 * [torch.nan]))
    for of_batch, true in ((batch, [30.0, 60.0]), (batch | some, [60.0])):
        predicted, known = task.ages(of_batch)
        torch.testing.assert_close(known, torch.tensor(true))
        torch.testing.assert_close(predicted, torch.full((len(true),), 50.0))
    logged = recorded(task)
    task.validation_step(batch | nobody, 0)
    assert logged == {}
    for of_batch in (batch, batch | some):  # errors of 20 and 10 years, then of 10
        task.validation_step(of_batch, 0)
    assert logged["age/val_mae"].compute().item() == pytest.approx((20 + 10 + 10) / 3)


def segmenter_task(network, optimizer=ADAM, **changes):
    settings = {"max_steps": 100, "augment": {}, "mirror": False, "shift": 0, "seed": 0}
    task = SegmenterTask(network=network, optimizer=optimizer, **(settings | changes))
    task.logged = recorded(task)
    return task


def test_segmentation_loss_by_hand():
    """Three classes, of which the last is absent; two pixels with probabilities (1/2, 1/4, 1/4)."""
    logits = torch.tensor([0.5, 0.25, 0.25]).log().view(1, 3, 1, 1).expand(1, 3, 1, 2)
    truth = torch.tensor([[[0, 1]]])
    entropy = -(math.log(0.5) + math.log(0.25)) / 2
    dice = 2 * 0.25 / (0.25 + 0.25 + 1)
    assert segmentation_loss(logits, truth).item() == pytest.approx(entropy + 1 - dice)
    nothing = torch.zeros(1, 1, 2, dtype=torch.long)
    assert segmentation_loss(logits, nothing).item() == pytest.approx(-math.log(0.5))


def test_moved_by_hand(batch):
    batch = batch | {"labels": (batch["image"] > 0.5).to(torch.int16)}
    still = moved(batch, mirror=False, shift=0, draw=torch.Generator().manual_seed(0))
    assert all(torch.equal(still[name], values) for name, values in batch.items())
    seen = set()
    for seed in range(150):
        new = moved(batch, mirror=True, shift=1, draw=torch.Generator().manual_seed(seed))
        assert torch.equal(new["labels"], (new["image"] > 0.5).to(torch.int16))  # together with the image
        assert torch.equal(new["age"], batch["age"])
        for turned in (False, True):
            for step in itertools.product((-1, 0, 1), repeat=2):
                image = batch["image"].flip(2) if turned else batch["image"]
                if torch.equal(new["image"], image.roll(step, (2, 3))):
                    seen.add((turned, *step))
    assert len(seen) == 18


class GreyLevel(torch.nn.Module):
    """Grey level above a half is class 1."""

    def forward(self, image):
        return torch.cat((0.5 - image, image - 0.5), 1)


def test_a_segmenter_is_validated_by_dice_on_the_same_corrupted_slices_every_time(batch):
    batch = batch | {"labels": (batch["image"] > 0.5).to(torch.int16)}
    task = segmenter_task(GreyLevel())
    task.validation_step(batch, 0)
    assert task.logged["segmenter/val_dice_error"].compute() == 0
    curves = CurveCorruption(**CURVES, probability=1.0)
    task = segmenter_task(GreyLevel(), augment={"curve": curves, "again": curves}, mirror=True, shift=3)
    errors = []
    for index in (0, 1, 0):
        task.validation_step(batch, index)
        errors.append(task.val_dice_error.compute().item())
        task.val_dice_error.reset()
    assert errors[0] == errors[2] > 0
    assert errors[0] != errors[1]


def test_augmentation_is_drawn_by_seed_and_step_and_corrupts_each_slice_its_own_way(batch):
    curves = CurveCorruption(**CURVES, probability=1.0)
    task = segmenter_task(GreyLevel(), augment={"curve": curves})
    same = batch | {"image": batch["image"][:1].expand(4, 1, 16, 16)}
    first, second, other = (task.seen(same, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert len({tuple(image.flatten().tolist()) for image in first}) == 4
    twice = segmenter_task(GreyLevel(), augment={"curve": curves, "again": curves})
    assert not torch.equal(twice.seen(same, torch.Generator().manual_seed(1)), first)


def test_slices_without_any_structure_are_not_validated(batch):
    task = segmenter_task(GreyLevel())
    task.validation_step(batch | {"image": 0 * batch["image"]}, 0)
    assert task.logged == {}


def test_a_segmenter_learns_a_threshold_and_needs_labels(batch):
    torch.manual_seed(0)
    batch = batch | {"labels": (batch["image"] > 0.5).to(torch.int16)}
    network = segmentation_unet(in_channels=1, out_channels=2, widths=(8, 8), residual_units=1, norm="batch")
    task = segmenter_task(network, functools.partial(torch.optim.Adam, lr=1e-2))
    optimizer = task.configure_optimizers()["optimizer"]
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = task.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    del batch["labels"]
    with pytest.raises(DataError, match=r"data\.labels"):
        task.training_step(batch, 0)
