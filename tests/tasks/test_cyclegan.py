"""The image buffer's law; the losses by hand; what reaches whose weights; nothing is lost by an interruption."""

import copy
import functools

import lightning
import pytest
import torch

from harmony.networks import PatchCritic, Translator
from harmony.tasks import CycleGanTask
from harmony.tasks.image_buffer import ImageBuffer

ADAM = functools.partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.999))


def numbered(*numbers):
    return torch.tensor(numbers, dtype=torch.float32).reshape(-1, 1, 1, 1)


def test_a_buffer_is_filled_first_and_then_exchanges_half_of_the_images():
    buffer, draw = ImageBuffer(4), torch.Generator().manual_seed(0)
    first = numbered(0, 1, 2, 3)
    assert torch.equal(buffer(first, draw), first)
    old, seen = 0, []
    for number in range(4, 2004):
        shown = int(buffer(numbered(number), draw))
        old += shown != number
        seen.append(shown)
    assert 0.46 < old / 2000 < 0.54
    past = [number for place, number in enumerate(seen, 4) if number != place]
    assert len(set(past)) == len(past)  # an image of the past leaves the buffer when it is shown
    assert len(buffer.images) == 4
    assert sorted({*past, *(int(image) for image in buffer.images)} & {0, 1, 2, 3}) == [0, 1, 2, 3]


def test_a_buffer_is_deterministic_detached_and_travels_in_the_state_dict():
    def shown(buffer, numbers, seed):
        return buffer(numbered(*numbers), torch.Generator().manual_seed(seed)).flatten().tolist()

    buffer = ImageBuffer(3)
    new = numbered(0, 1, 2).requires_grad_()
    assert not buffer(new, torch.Generator()).requires_grad
    twin = ImageBuffer(3)
    twin.load_state_dict(copy.deepcopy(buffer.state_dict()))
    assert shown(buffer, range(3, 30), 7) == shown(twin, range(3, 30), 7)
    empty = ImageBuffer(3)
    empty.load_state_dict(ImageBuffer(3).state_dict())
    assert empty.images == []


def task(max_steps=8, **changes):
    torch.manual_seed(0)
    settings = {"cycle": 10.0, "identity": 5.0, "buffer": 4, "max_steps": max_steps, "seed": 0} | changes
    return CycleGanTask(
        network=Translator(widths=[4, 4], residual_units=1),
        inverse=Translator(widths=[4, 4], residual_units=1),
        critic=functools.partial(PatchCritic, width=4, layers=1),
        optimizer=ADAM,
        **settings,
    )


@pytest.fixture
def batch():
    return batches(1)[0]


def batches(count):
    generator = torch.Generator().manual_seed(2)
    made = []
    for _ in range(count):
        mask = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
        mask[..., 2:14, 3:13] = True
        image = torch.where(mask, torch.rand(mask.shape, generator=generator), 0)
        query = torch.where(mask, torch.rand(mask.shape, generator=generator) ** 0.5, 0)
        made.append({"image": image, "mask": mask, "query": query, "query_mask": mask})
    return made


def test_losses_by_hand(batch):
    """Both generators add a constant: +0.02 to the reference, -0.01 back."""
    gan = task()
    with torch.no_grad():
        gan.network.residual.bias.fill_(0.02)
        gan.inverse.residual.bias.fill_(-0.01)
    batch = {name: 0.2 + 0.6 * x if x.is_floating_point() else x for name, x in batch.items()}  # far from the clips
    batch |= {name: torch.where(batch["mask"], batch[name], 0) for name in ("image", "query")}
    made, losses = gan.generator_losses(batch)
    torch.testing.assert_close(made["reference"][batch["mask"]], batch["query"][batch["mask"]] + 0.02)
    torch.testing.assert_close(made["query"][batch["mask"]], batch["image"][batch["mask"]] - 0.01)
    assert losses["cycle"].item() == pytest.approx(2 * 0.01, rel=1e-3)
    assert losses["identity"].item() == pytest.approx(0.02 + 0.01, rel=1e-3)
    critics = gan.critics
    adversarial = (critics["reference"](made["reference"]) - 1).square().mean()
    adversarial += (critics["query"](made["query"]) - 1).square().mean()
    assert losses["adversarial"].item() == pytest.approx(adversarial.item())
    assert gan.weighted(losses).item() == pytest.approx(adversarial.item() + 10 * 0.02 + 5 * 0.03, rel=1e-3)
    told_apart = (critics["reference"](batch["image"]) - 1).square().mean()
    told_apart += critics["reference"](made["reference"]).square().mean()
    told_apart += (critics["query"](batch["query"]) - 1).square().mean() + critics["query"](
        made["query"]
    ).square().mean()
    assert gan.critics_loss(batch, made).item() == pytest.approx(told_apart.item() / 2)


def test_one_step_is_the_papers_two(batch):
    """The generators' gradients are those of L(G, F) alone, the critics' those of L(D) alone."""
    gan = task()
    gan.log = lambda *_, **__: None
    with torch.no_grad():
        for generator in (gan.network, gan.inverse):
            generator.residual.weight.fill_(0.01)
    apart = copy.deepcopy(gan)
    gan.training_step(batch, 0).backward()
    made, losses = apart.generator_losses(batch)
    generators = [*apart.network.parameters(), *apart.inverse.parameters()]
    critics = list(apart.critics.parameters())
    expected = [
        *torch.autograd.grad(apart.weighted(losses), generators, retain_graph=True),
        *torch.autograd.grad(
            apart.critics_loss(batch, {name: image.detach() for name, image in made.items()}), critics
        ),
    ]
    found = [*gan.network.parameters(), *gan.inverse.parameters(), *gan.critics.parameters()]
    for parameter, gradient in zip(found, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_buffers_draw_afresh_at_every_step():
    gan, seeds = task(), []
    gan.past["query"].register_forward_pre_hook(lambda _, given: seeds.append(given[1].initial_seed()))
    fit(gan, 0, 3)
    assert len(set(seeds)) == 3


def test_the_rate_is_constant_and_then_falls_to_zero():
    schedule = task(max_steps=8).configure_optimizers()["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(9):
        rates.append(schedule.get_last_lr()[0] / 1e-3)
        schedule.optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])


class From(torch.utils.data.IterableDataset):
    """The batches of one run, from a step on."""

    def __init__(self, first):
        self.first = first

    def __iter__(self):
        return iter(batches(9)[self.first :])


def fit(gan, first, last, resume=None):
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(max_steps=last, accelerator="cpu", gradient_clip_val=1.0, limit_val_batches=0, **quiet)
    loader = torch.utils.data.DataLoader(From(first), batch_size=None)
    trainer.fit(gan, loader, ckpt_path=resume, weights_only=True)
    return trainer


def test_a_resumed_training_ends_with_the_same_weights_and_buffers(tmp_path):
    whole = task()
    fit(whole, 0, 8)
    fit(task(), 0, 5).save_checkpoint(tmp_path / "half.ckpt")
    again = task()
    fit(again, 5, 8, resume=tmp_path / "half.ckpt")
    for (name, tensor), other in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(tensor, other), name
    assert len(again.past["reference"].images) == 4
