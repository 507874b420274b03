"""Scanners drawn at random: one for each scan whatever the order, within their ranges, every family, neutral at 0."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from phantoms import volume_of

from harmony.core import DataError
from harmony.core.measures import FWHM_PER_SIGMA
from harmony.data import query_scanner
from harmony.data.simulation.random_shifts import DRAWN, Ranges, of_deviation, random_curve
from harmony.data.simulation.shifts import FIELDS
from harmony.data.simulation.shifts_unseen import coil_shaded

MOST = {
    "curve": 0.5,
    "gamma": 0.5,
    "table": 1.0,
    "probability": 0.7,
    "tissue": 0.2,
    "shading": 0.25,
    "blur": 5.0,
    "anisotropy": 0.15,
    "noise": 0.08,
}
SCANS = [f"sub-{k:03d}" for k in range(400)]


def scanner(*, name="random", seed=0, **changes):
    return query_scanner(name, kind="random", strength=MOST | changes, seed=seed, percentile=99.5)


def test_every_scan_has_a_scanner_of_its_own_whatever_came_before():
    first, second = volume_of(subject="sub-01"), volume_of(subject="sub-02")
    some = scanner(probability=1.0)
    images = [some(first).image, some(second).image]
    again = scanner(probability=1.0)
    assert torch.equal(again(second).image, images[1])
    assert torch.equal(again(first).image, images[0])
    assert not torch.equal(*images)


def test_name_and_seed_make_others():
    drawn = [str(s.amounts("sub-01")) for s in (scanner(probability=1), scanner(probability=1, name="b"))]
    drawn.append(str(scanner(probability=1, seed=1).amounts("sub-01")))
    assert len(set(drawn)) == 3
    assert str(scanner(probability=1).amounts("sub-01")) == drawn[0]


def test_amounts_are_uniform_up_to_their_ranges_and_families_happen_as_often_as_said():
    drawn = [scanner(anisotropy=0.0).amounts(scan) for scan in SCANS]
    for kind, most in {"table": 1.0, "tissue": 0.2, "bias": 0.25, "coil": 0.25, "blur": 5.0, "noise": 0.08}.items():
        found = np.array([np.max(each[kind]) for each in drawn if kind in each])
        assert 0 <= found.min() < 0.1 * most
        assert 0.9 * most < found.max() <= most
        assert abs(found.mean() / most - 0.5) < 0.1
    powers = np.log([each["gamma"] for each in drawn if "gamma" in each])
    assert -0.5 <= powers.min() < -0.4
    assert 0.4 < powers.max() <= 0.5
    often = {kind: np.mean([kind in each for each in drawn]) for kind in DRAWN}
    for kind, share in {"gamma": 0.25, "table": 0.25, "tissue": 0.7, "bias": 0.35, "coil": 0.35, "noise": 0.7}.items():
        assert abs(often[kind] - share) < 0.08
    assert {len(each) for each in drawn} >= {1, 2, 3, 4, 5}  # any number at once


def test_the_blur_differs_from_axis_to_axis():
    widths = np.array([each["blur"] for each in map(scanner().amounts, SCANS) if "blur" in each])
    assert np.std(np.log(widths) - np.log(widths).mean(1, keepdims=True)) == pytest.approx(
        0.15 * np.sqrt(2 / 3), rel=0.1
    )


def test_nothing_drawn_is_the_scan_itself():
    volume = volume_of()
    none = scanner(curve=0.0, probability=0.0)
    assert none(volume) is volume
    flat = scanner(
        curve=1.0, probability=1.0, **dict.fromkeys(("gamma", "table", "tissue", "shading", "blur", "noise"), 0)
    )
    image = torch.where(volume.mask, volume.image.clamp(max=0.9) / 0.9, 0)
    assert torch.allclose(flat(replace(volume, image=image)).image, image, atol=1e-5)


@pytest.mark.parametrize("subject", SCANS[:6])
def test_a_draw_is_a_volume_in_range_on_the_same_grid(subject):
    volume = volume_of(subject=subject)
    out = scanner(probability=1.0)(volume)
    assert (out.mask, out.labels, out.affine, out.scan) == (volume.mask, volume.labels, volume.affine, volume.scan)
    assert out.image.dtype == torch.float32
    assert out.image[~volume.mask].abs().max() == 0
    assert 0 <= out.image.min() < out.image.max() <= 1


def test_a_random_curve_rises_from_0_to_1_and_is_straight_without_deviation():
    volume, x = volume_of(), torch.linspace(0, 1, 200)
    for seed in range(20):
        y = random_curve(x, volume, 1.5, np.random.default_rng(seed))
        assert (y[0], y[-1]) == (0, 1)
        assert (y.diff() > 0).all()
    assert torch.allclose(random_curve(x, volume, 0.0, np.random.default_rng(0)), x, atol=1e-6)


@pytest.mark.parametrize("shade", [FIELDS["bias"], coil_shaded])
def test_a_shading_has_the_deviation_that_was_asked_for(shade):
    volume = volume_of()
    ones = torch.ones_like(volume.image)
    field = of_deviation(shade)(ones, volume, 0.3, np.random.default_rng(3)).log()
    assert float(field[volume.mask].std()) == pytest.approx(0.3, rel=1e-3)


def test_it_needs_tissues_and_says_so():
    assert scanner().needs_tissues
    assert not scanner(tissue=0.0).needs_tissues
    with pytest.raises(DataError, match="labels"):
        scanner(probability=1.0)(volume_of(labels=False))


@pytest.mark.parametrize("strength", [None, 0.5, {"tissue": 0.1}, MOST | {"curve": 1.5}, MOST | {"ghost": 0.1}])
def test_other_strengths_are_refused(strength):
    with pytest.raises((ValueError, TypeError)):
        query_scanner("random", kind="random", strength=strength, seed=0, percentile=99.5)


def test_ranges_name_every_setting():
    assert set(asdict(Ranges(**MOST))) == set(MOST)


def test_inside_is_within_what_the_tissue_network_learned_from_and_beyond_is_twice_that():
    conf = Path(__file__).parents[3] / "conf"
    scanners = yaml.safe_load((conf / "data" / "preprocess.yaml").read_text())["scanners"]
    inside, beyond = (Ranges(**scanners[f"random_{name}"]["strength"]) for name in ("inside", "beyond"))
    learned = yaml.safe_load((conf / "task" / "tissue.yaml").read_text())["module"]["corruption"]
    assert inside.tissue <= learned["gain"]
    assert inside.shading <= learned["shading"]
    assert inside.noise <= learned["noise"]
    assert inside.blur <= learned["blur"] * 2.0 * FWHM_PER_SIGMA  # voxels of 2 mm
    assert np.exp(inside.gamma) <= learned["gamma"][1] + 1e-3
    for name in ("gamma", "table", "tissue", "shading", "blur", "anisotropy", "noise"):
        assert getattr(beyond, name) == pytest.approx(2 * getattr(inside, name))
