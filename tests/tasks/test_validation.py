"""What every task validates by: a mean over slices, whatever the batches, that does not travel with the weights."""

import functools
import warnings

import lightning
import pytest
import torch

from harmony.core.batch import each
from harmony.core.reference import Reference
from harmony.data import CurveCorruption
from harmony.flows import spline_flow
from harmony.networks import AgeNet, Harmonizer, PatchCritic, Translator, segmentation_unet
from harmony.tasks import (
    AgeTask,
    CycleGanTask,
    FlowTask,
    Guidance,
    HarmonizerTask,
    PairedTask,
    RankedGuidance,
    SegmenterTask,
)

ADAM = functools.partial(torch.optim.Adam, lr=1e-3)
CURVES = CurveCorruption(
    shares=(0.0, 1.0, 0.0), dyadic_levels=2, middle=0.6, shift=0.0, gain=(0.5, 2.0), gamma=(0.5, 1.5), probability=1.0
)
REFERENCE = Reference(torch.zeros(3, 1, 16, 16), torch.linspace(0, 1, 64).expand(3, 64), torch.ones(3))
SPLINES = {
    "levels": 2,
    "steps": 1,
    "hidden_channels": 4,
    "blocks": 1,
    "bins": 4,
    "tail_bound": 3.0,
    "min_bin_width": 1e-3,
    "min_bin_height": 1e-3,
    "min_derivative": 1e-3,
    "bits": 8,
    "seed": 0,
}


def translator():
    return Translator(widths=[4, 4], residual_units=1)


def flow(guided=None):
    return FlowTask(
        network=spline_flow(**SPLINES),
        reference=None,
        optimizer=ADAM,
        max_steps=4,
        guided=guided,
        compile=False,
        seed=0,
    )


TASKS = {
    "flow": flow,
    "guided flow": lambda: flow(Guidance(corruption=CURVES, probability=0.5, threshold=0.0, every=1, floor=1.0)),
    "ranked flow": lambda: flow(
        RankedGuidance(corruption=CURVES, walk=None, share=0.5, weight=0.5, slope=0.06, power=0.5, least=0.5, every=1)
    ),
    "harmonizer": lambda: HarmonizerTask(
        network=Harmonizer(widths=(4, 4)),
        reference=REFERENCE,
        corruption=CURVES,
        optimizer=ADAM,
        per_volume=False,
        halve_every=2,
        seed=0,
    ),
    "segmenter": lambda: SegmenterTask(
        network=segmentation_unet(in_channels=1, out_channels=3, widths=(4, 4), residual_units=1, norm="batch"),
        optimizer=ADAM,
        max_steps=4,
        augment={"curve": CURVES},
        mirror=True,
        shift=2,
        seed=0,
    ),
    "age": lambda: AgeTask(
        network=AgeNet(widths=(4,), age_mean=50.0, age_deviation=10.0),
        optimizer=ADAM,
        max_steps=4,
        mirror=True,
        shift=2,
        seed=0,
    ),
    "paired": lambda: PairedTask(network=translator(), optimizer=ADAM, max_steps=4),
    "cyclegan": lambda: CycleGanTask(
        network=translator(),
        inverse=translator(),
        critic=functools.partial(PatchCritic, width=4, layers=1),
        optimizer=ADAM,
        cycle=10.0,
        identity=5.0,
        buffer=4,
        max_steps=4,
        seed=0,
    ),
}


@pytest.fixture
def batches():
    """5 and 2 slices, each of a subject of its own."""
    draw = torch.Generator().manual_seed(0)
    mask = torch.zeros(7, 1, 16, 16, dtype=torch.bool)
    mask[..., 2:14, 3:13] = True
    image = torch.where(mask, torch.rand(mask.shape, generator=draw), 0)
    whole = {
        "image": image,
        "mask": mask,
        "position": torch.linspace(0, 1, 7),
        "subject": torch.arange(7),
        "age": torch.linspace(20, 80, 7),
        "labels": (2 * image).round().to(torch.int16),
        "query": image.sqrt(),
        "query_mask": mask,
    }
    return [each(whole, lambda values: values[:5]), each(whole, lambda values: values[5:])]


def trainer(**settings):
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return lightning.Trainer(accelerator="cpu", **quiet, **settings)


def validated(task, batches):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        running = trainer()
        running.validate(task, torch.utils.data.DataLoader(batches, batch_size=None), verbose=False)
    return {name: value.item() for name, value in running.callback_metrics.items()}


@pytest.mark.parametrize("name", TASKS)
def test_a_validation_is_the_mean_over_slices_of_its_batches(name, batches):
    torch.manual_seed(0)
    task = TASKS[name]()
    both, first = validated(task, batches), validated(task, batches[:1])
    second, task.log = {}, lambda key, metric, **_: second.update({key: metric.compute().item()})
    with torch.inference_mode():
        task.eval().validation_step(batches[1], 1)
    assert task.monitor in both
    for key, value in both.items():
        assert value == pytest.approx((5 * first[key] + 2 * second[key]) / 7, rel=1e-5), key


@pytest.mark.parametrize("name", TASKS)
def test_what_validation_counts_is_no_part_of_the_weights(name, batches):
    torch.manual_seed(0)
    task = TASKS[name]()
    before = list(task.state_dict())
    validated(task, batches)
    assert list(task.state_dict()) == before
    assert not any("val" in key.split(".")[0] for key in before)
