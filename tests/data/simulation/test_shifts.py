"""Simulated scanners: closed forms, one scanner for everyone, nothing outside the brain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from phantoms import volume_of

from harmony.core import DataError
from harmony.data import query_scanner
from harmony.data.simulation.shifts import FIELDS

MIX = {"tissue": 0.08, "bias": 0.2, "blur": 3.0, "noise": 0.035}
SHIFTS = {"exp": None, "log": None, "gamma": 0.7, "tissue": 0.08, "bias": 0.2, "blur": 4.0, "noise": 0.05, "mix": MIX}
NEUTRAL = {"gamma": 1.0, "tissue": 0.0, "bias": 0.0, "blur": 0.0, "noise": 0.0, "mix": dict.fromkeys(MIX, 0.0)}


def scanner(kind, strength="default", *, seed=0, name=None, percentile=99.5):
    strength = SHIFTS[kind] if strength == "default" else strength
    return query_scanner(name or kind, kind=kind, strength=strength, seed=seed, percentile=percentile)


@pytest.mark.parametrize(
    ("kind", "strength", "half"),
    [
        ("exp", None, (np.exp(0.5) - 1) / (np.e - 1)),
        ("log", None, np.log(2.5) / np.log(4)),
        *[("gamma", g, 0.5**g) for g in (0.7, 0.8, 0.9, 1.2, 1.3, 1.5)],
    ],
)
def test_monotone_shifts_have_their_closed_form(kind, strength, half):
    volume = volume_of()
    image = torch.where(volume.mask, 0.5, 0.0)
    image[10, 15], volume.mask[10, 15] = 1.0, True
    out = scanner(kind, strength)(replace(volume, image=image)).image
    assert out[image == 0].abs().max() == 0
    assert torch.allclose(out[image == 0.5], torch.tensor(half).float(), atol=1e-6)
    assert torch.allclose(out[image == 1], torch.tensor(1.0))


@pytest.mark.parametrize("kind", NEUTRAL)
def test_strength_zero_changes_nothing(kind):
    volume = volume_of()
    assert torch.equal(scanner(kind, NEUTRAL[kind])(volume).image, volume.image)


@pytest.mark.parametrize("kind", SHIFTS)
def test_every_shift_is_a_volume_in_range_and_leaves_the_rest_alone(kind):
    volume = volume_of()
    before = volume.image.clone()
    out = scanner(kind)(volume)
    assert torch.equal(volume.image, before)
    assert (out.mask, out.labels, out.affine, out.scale, out.scan) == (
        volume.mask,
        volume.labels,
        volume.affine,
        volume.scale,
        volume.scan,
    )
    assert out.image.dtype == torch.float32
    assert out.image[~volume.mask].abs().max() == 0
    assert 0 <= out.image.min() < out.image.max() <= 1
    assert (out.image - volume.image).abs().mean() > 0.003
    assert torch.equal(scanner(kind)(volume).image, out.image)


@pytest.mark.parametrize("kind", ["tissue", "bias", "blur", "noise", "mix"])
def test_the_robust_scale_is_applied_again(kind):
    volume = volume_of()
    out = scanner(kind, percentile=95.0)(volume).image[volume.mask]
    assert (out >= 1 - 1e-6).float().mean() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("kind", ["tissue", "bias", "mix", "noise"])
def test_seed_and_name_make_another_scanner(kind):
    volume = volume_of()
    plain = scanner(kind)(volume).image
    assert not torch.equal(scanner(kind, seed=1)(volume).image, plain)
    assert not torch.equal(scanner(kind, name="another")(volume).image, plain)


@pytest.mark.parametrize("kind", ["tissue", "bias", "blur"])
def test_it_is_the_same_scanner_for_every_subject(kind):
    ours, theirs = volume_of(subject="sub-01"), volume_of(subject="sub-02")
    assert torch.equal(scanner(kind)(ours).image, scanner(kind)(theirs).image)


def test_the_bias_field_belongs_to_the_scanner_not_to_the_brain():
    """Flat images: what comes out is the field. A smaller brain on a smaller grid sees the same, up to the scale."""
    volume = volume_of()
    places = torch.stack(torch.meshgrid(*map(torch.arange, volume.mask.shape), indexing="ij"), -1)
    where = volume.mask.nonzero()
    near = volume.mask & ((places - (where.amin(0) + where.amax(0)) / 2).abs().amax(-1) < 7)
    window = tuple(slice(int(k.min()) - 1, int(k.max()) + 2) for k in near.nonzero().T)
    large = replace(volume, image=torch.where(volume.mask, 0.5, 0.0))
    small = replace(volume, mask=near[window], image=torch.where(near, 0.5, 0.0)[window], labels=None)
    a, b = (scanner("bias", percentile=100.0)(v).image for v in (large, small))
    ratio = a[near] / b[near[window]]
    assert ratio.std() / ratio.mean() < 1e-5
    assert a[volume.mask].std() / a[volume.mask].mean() > 0.02


@pytest.mark.parametrize("kind", ["bias", "tissue", "blur"])
def test_a_shift_does_not_depend_on_the_slice_axis(kind):
    axial, sagittal = (scanner(kind)(volume_of(axis=axis)).image for axis in ("axial", "sagittal"))
    assert torch.allclose(axial.permute(1, 2, 0), sagittal, atol=1e-5)


def test_noise_is_rician_and_differs_between_subjects():
    volume = volume_of()
    flat = replace(volume, image=torch.where(volume.mask, 0.5, 0.0))
    out = scanner("noise", 0.1, percentile=100.0)(flat).image[volume.mask]
    # Rice: E[m^2] = signal^2 + 2 sigma^2; the scale divides out in the ratio of variance and square.
    signal, sigma = 0.5, 0.1
    first, second = out.mean() ** 2, (out**2).mean()
    expected = (signal * (1 + sigma**2 / (2 * signal**2))) ** 2 / (signal**2 + 2 * sigma**2)
    assert float(first / second) == pytest.approx(expected, abs=0.004)
    black = replace(volume, image=torch.where(volume.mask, 1e-6, 0.0))
    rayleigh = scanner("noise", 0.1, percentile=100.0)(black).image[volume.mask]
    assert float(rayleigh.mean() / (rayleigh**2).mean().sqrt()) == pytest.approx(np.sqrt(np.pi) / 2, abs=0.01)
    other = scanner("noise")(volume_of(subject="sub-02")).image
    assert not torch.equal(other, scanner("noise")(volume).image)


def test_blur_keeps_a_flat_brain_flat_to_its_edge():
    volume = volume_of()
    flat = replace(volume, image=torch.where(volume.mask, 0.5, 0.0))
    out = scanner("blur", 6.0)(flat).image
    assert torch.allclose(out[volume.mask], torch.tensor(1.0), atol=1e-5)


def test_blur_is_a_gaussian_of_so_many_millimetres_along_every_axis():
    """A point in a brain that fills everything; voxels of 1, 2 and 4 mm."""
    shape = (41, 31, 21)
    image = torch.zeros(shape)
    image[20, 15, 10] = 1
    about = {"image": image, "mask": torch.ones(shape, dtype=torch.bool), "labels": None}
    volume = replace(volume_of(), **about, affine=np.diag([1.0, 2.0, 4.0, 1.0]))
    out = scanner("blur", 6.0, percentile=100.0)(volume).image
    sigma = 6.0 / np.sqrt(8 * np.log(2))
    for steps, mm in (((4, 0, 0), 4), ((0, 2, 0), 4), ((0, 0, 1), 4), ((2, 1, 1), np.sqrt(4 + 4 + 16))):
        place = tuple(np.add((20, 15, 10), steps))
        assert out[place].item() == pytest.approx(np.exp(-(mm**2) / (2 * sigma**2)), rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_tissue_gains_have_logs_of_mean_zero_and_the_given_deviation(seed):
    """Three blocks of one tissue each, wide against the smoothing of their borders; before the scale is applied."""
    labels = torch.ones(10, 10, 60, dtype=torch.int16)
    labels[..., 20:40], labels[..., 40:] = 2, 3
    about = {"image": torch.full(labels.shape, 0.5), "mask": labels > 0, "labels": labels}
    volume = replace(volume_of(), **about)
    out = FIELDS["tissue"](volume.image, volume, 0.3, np.random.default_rng(seed))
    logs = np.log([out[5, 5, place].item() / 0.5 for place in (10, 30, 50)])
    assert logs.mean() == pytest.approx(0, abs=1e-4)
    assert logs.std() == pytest.approx(0.3, rel=1e-3)


def test_tissue_shift_is_not_one_curve_and_needs_tissue_labels():
    volume = volume_of()
    flat = replace(volume, image=torch.where(volume.mask, 0.5, 0.0))
    out = scanner("tissue", 0.2)(flat).image
    means = [out[volume.labels == k].mean() for k in (1, 2, 3)]
    assert max(means) - min(means) > 0.1
    for labels in (None, volume.labels * 7):
        with pytest.raises(DataError, match=r"data.labels="):
            scanner("tissue")(replace(volume, labels=labels))


def test_a_mix_of_one_is_that_one():
    volume = volume_of()
    alone = query_scanner("x", kind="blur", strength=3.0, seed=0, percentile=99.5)(volume)
    mixed = query_scanner("x", kind="mix", strength={"blur": 3.0}, seed=0, percentile=99.5)(volume)
    assert torch.equal(alone.image, mixed.image)


@pytest.mark.parametrize(
    ("kind", "strength"), [("swirl", 1.0), ("exp", 1.0), ("gamma", None), ("mix", 1.0), ("bias", MIX)]
)
def test_kinds_and_strengths_that_do_not_fit_are_refused(kind, strength):
    with pytest.raises(ValueError, match=r"kind"):
        query_scanner("x", kind=kind, strength=strength, seed=0, percentile=99.5)
    with pytest.raises(ValueError, match=r"mix"):
        query_scanner("x", kind="mix", strength={"swirl": 1.0}, seed=0, percentile=99.5)
