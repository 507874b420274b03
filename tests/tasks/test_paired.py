"""The supervised translator: its error by hand, and that it learns a grey-level curve of unrelated pixels."""

import functools

import pytest
import torch

from harmony.networks import Translator
from harmony.tasks import PairedTask


@pytest.fixture
def batch():
    image = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros_like(image, dtype=torch.bool)
    mask[..., 2:14, 3:13] = True
    image = torch.where(mask, image, 0)
    return {"image": image**2, "mask": mask, "query": image, "query_mask": mask}


def task(max_steps=100):
    torch.manual_seed(0)
    network = Translator(widths=[8, 8], residual_units=1)
    paired = PairedTask(network=network, optimizer=functools.partial(torch.optim.Adam, lr=1e-2), max_steps=max_steps)
    paired.log = lambda *_, **__: None
    return paired


def test_the_error_is_the_mean_over_the_brain_and_reported_in_grey_levels(batch):
    """A new network changes nothing: the error of x against x^2."""
    paired = task()
    x = batch["query"][batch["mask"]]
    assert paired.error(batch).item() == pytest.approx((x - x**2).mean().item(), rel=1e-5)
    paired.validation_step(batch, 0)
    assert paired.val_error.compute().item() == pytest.approx(255 * (x - x**2).mean().item(), rel=1e-5)


def test_it_learns_a_curve_pixel_by_pixel(batch):
    """White noise: nothing but the pixel itself says what it becomes."""
    paired = task()
    settings = paired.configure_optimizers()
    for _ in range(100):
        settings["optimizer"].zero_grad()
        paired.training_step(batch, 0).backward()
        settings["optimizer"].step()
        settings["lr_scheduler"]["scheduler"].step()
    assert settings["lr_scheduler"]["scheduler"].get_last_lr()[0] == pytest.approx(0, abs=1e-9)
    paired.validation_step(batch, 0)
    assert paired.val_error.compute() < 10  # of 255; 42 before
