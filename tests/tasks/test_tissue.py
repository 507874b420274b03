"""The tissue network's training: what it learns without a gradient, its loss, its calibration."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from harmony.core import DataError, Scan, Volume
from harmony.core.reference import Reference
from harmony.data import ScannerCorruption
from harmony.networks import TissueNet
from harmony.tasks import Calibration, TissueTask
from harmony.tasks.calibration import untouched
from harmony.tasks.tissue_maps import learn_reference

LEVELS = torch.tensor([0.0, 0.3, 0.6, 0.9])
SIZE = (16, 24, 24)


def volume(seed, labelled=True):
    generator = torch.Generator().manual_seed(seed)
    z, y, x = torch.meshgrid(*(torch.linspace(-1.1, 1.1, n) for n in SIZE), indexing="ij")
    radius = z**2 + y**2 + x**2
    labels = ((radius < 1).int() + (radius < 0.7).int() + (radius < 0.4).int()).to(torch.int16)
    image = LEVELS[labels.long()] * (0.03 * torch.randn(SIZE, generator=generator)).exp()
    scan = Scan(path=f"{seed}.nii", subject=f"sub-{seed}")
    return Volume(scan, image.clamp(max=1), labels > 0, labels if labelled else None, 2 * torch.eye(4).numpy(), 1.0)


def task(clusters=False, **changes):
    corruption = {
        "curve": 0.0, "gamma": (1.0, 1.0), "gain": 0.1, "shading": 0.1, "blur": 0.5, "anisotropy": 0.0, "noise": 0.02,
        "probability": 0.5, "percentile": 99.5,
    }  # fmt: skip
    torch.manual_seed(0)
    return TissueTask(
        network=TissueNet(tissues=3, widths=[8, 8], frequencies=16),
        corruption=ScannerCorruption(**(corruption | changes)),
        calibration=Calibration(every=1, rounds=1, margin=1.1),
        reference=Reference.of([volume(0), volume(1)], positions=4, quantiles=64),
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        max_steps=10,
        blind=0.5,
        doubt=0.01,
        slab=8,
        spacing=2.0,
        clusters=clusters,
        mirror=True,
        seed=0,
    )


def batch(seed=0):
    one = volume(seed)
    return {"image": one.image[:, None], "mask": one.mask[:, None], "labels": one.labels[:, None]}


def test_scanners_stay_exact_in_mixed_precision(monkeypatch):
    made = task()
    learn_reference(made.network, [volume(0)], clusters=False)
    exact, seen = made.shown(batch(), torch.Generator().manual_seed(7), blind=0.0, turned=False), []
    shown = made.shown
    monkeypatch.setattr(made, "shown", lambda *args, **words: seen.append(shown(*args, **words)) or seen[-1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made.loss(batch(), torch.Generator().manual_seed(7), blind=0.0)
    for ours, expected in zip(seen[0], exact, strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("clusters", [False, True])
def test_mean_intensities_of_the_tissues_are_learned(clusters):
    made = task(clusters=clusters)
    learn_reference(made.network, [volume(k, labelled=not clusters) for k in range(3)], clusters=clusters)
    torch.testing.assert_close(made.network.expected_coefficients[:, 0].exp(), LEVELS[1:], atol=0.06, rtol=0)
    assert (made.network.expected_spread < 0.08).all()


def test_labels_are_asked_for_where_there_are_none():
    with pytest.raises(DataError, match="clusters=true"):
        learn_reference(task().network, [volume(0, labelled=False)], clusters=False)


def test_validation_is_deterministic_and_training_goes_down():
    made = task()
    learn_reference(made.network, [volume(k) for k in range(3)], clusters=False)
    draws = [made.loss(batch(), torch.Generator().manual_seed(7), blind=0.0) for _ in range(2)]
    assert torch.equal(draws[0], draws[1])
    optimizer = made.configure_optimizers()["optimizer"]
    for step in range(12):
        loss = made.loss(batch(step % 3), torch.Generator().manual_seed(step), slab=8)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert made.loss(batch(), torch.Generator().manual_seed(7), blind=0.0) < 0.7 * draws[0]


def test_calibration_takes_untouched_volumes_for_untouched():
    made = task()
    volumes = [volume(k) for k in range(6)]
    learn_reference(made.network, volumes, clusters=False)
    with torch.no_grad():
        made.calibration.learn(made.network, made.corruption, made.reference, volumes[:4], volumes[4:])
    prior = made.network.prior
    assert prior.raw.limit > 0
    assert prior.own_covariance.diagonal().min() > 0
    assert prior.scanners[:3].tolist() == pytest.approx([0.5 * 0.1**2 / 3] * 3)


def test_the_limit_of_untouched_scans_holds_for_scans_that_it_was_not_learned_on():
    """In 27 numbers 40 volumes fit their own covariance far too well: by it most new scans would look touched."""
    draw = torch.Generator().manual_seed(0)
    learned, new = torch.randn(40, 27, generator=draw), torch.randn(200, 27, generator=draw)
    seen = untouched([SimpleNamespace(evidence=each) for each in learned], 1.0)
    assert sum(seen.distance(each) > 1 for each in new) < 0.1 * len(new)
    assert all(seen.distance(each) > 1 for each in 3 * new)
    odd = torch.cat((learned, 5 * new[:1]))  # does not set it
    assert float(untouched([SimpleNamespace(evidence=each) for each in odd], 1.0).limit) < 1.5 * float(seen.limit)
