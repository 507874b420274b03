"""Scans made even, on folded phantoms whose shading is known: what comes off, what stays, and what may not matter."""

import functools
from dataclasses import replace

import pytest
import torch
from brains import flat_prior, neutral_prior, stack

from harmony.core.measures import robust_maximum
from harmony.data.simulation.coils import Coils
from harmony.methods import ScannerInversion
from harmony.scanner import (
    EVEN,
    POWERS,
    TissueIntensity,
    brain_box,
    even_scan,
    learn_texture,
    rough_field,
    smooth_mean,
    texture,
)
from harmony.scanner.even import SETTLED, refined

SIZE, LEVELS, SPREAD = (44, 52, 60), torch.tensor([0.36, 0.62, 0.89]), torch.full((3,), 0.05)


@functools.cache
def folded(seed=0):
    """Every tissue everywhere, in folds of some 16 mm, as a cortex is: image (S, H, W), mask, labels 0 .. 2."""
    axes = torch.meshgrid(*(torch.linspace(-1.05, 1.05, n) for n in SIZE), indexing="ij")
    mask = sum(axis**2 for axis in axes) < 1
    draw = torch.Generator().manual_seed(seed)
    folds = sum(
        torch.sin(22 * axis + 3 * other + 6 * torch.rand((), generator=draw))
        for axis, other in zip(axes, (axes[1], axes[2], axes[0]), strict=True)
    )
    labels = (folds > -1.1).long() + (folds > 0.3).long()
    grain = (0.02 * torch.randn(SIZE, generator=draw)).exp()
    return torch.where(mask, LEVELS[labels] * grain, 0), mask, labels


@functools.cache
def prior():
    """Of folded phantoms: their levels, their texture."""
    known = replace(flat_prior(), expected=TissueIntensity(neutral_prior(levels=LEVELS).expected.coefficients, SPREAD))
    return replace(known, texture=learn_texture([texture(*folded(seed)[:2]) for seed in range(6)], 1.2))


def by_level(volume):
    distance = volume[:, :1].clamp(min=1e-3).log() - LEVELS.log().view(-1, 1, 1, 1)
    return -0.5 * (distance / 0.1).square()


def coils(mask, amount, seed=3):
    drawn = Coils.draw(1.0, torch.Generator().manual_seed(seed))
    return Coils(drawn.place, drawn.radius, drawn.weight, amount).log_over(brain_box(mask))


def shaded(amount):
    image, mask, _ = folded()
    return torch.where(mask, image * coils(mask, amount).exp(), 0)


def made_even(image, mask, **changes):
    settings = {
        "percentile": 99.5, "any_probability": 0.9, "nearer": 0.6, "matching": 0.2, "most_noise": 9.0, "widest": 9.0,
        "unlikely": 1e9, "misfit": 1e9,
    }  # fmt: skip
    known = {"map_network": by_level, "prior": prior(), "reference": None, "shading": EVEN}
    return ScannerInversion(**(known | settings | changes)).harmonize(stack(image, mask))


def unevenness(image, mask, labels):
    """Deviation of the brightest tissue's log intensity, smoothed over 8 mm."""
    white = mask & (labels == 2)
    return float(smooth_mean(image.clamp(min=0.01).log(), white.float(), 2.0, 8.0)[white].std())


@pytest.mark.parametrize("amount", [0.7, 1.6, 2.3])
def test_the_shading_of_coils_comes_off_up_to_a_factor_of_ten(amount):
    image, mask, labels = folded()
    assert unevenness(shaded(amount), mask, labels) > 0.1
    with_, without = (made_even(each, mask).image[:, 0] for each in (shaded(amount), image))
    assert unevenness(with_, mask, labels) < 0.025
    assert ((with_ / without)[mask].log() - (with_ / without)[mask].log().mean()).std() < 0.02


def test_an_even_scan_stays_even_and_keeps_its_contrast():
    image, mask, labels = folded()
    made = made_even(image, mask).image[:, 0]
    ratio = (made / image)[mask]
    assert (ratio.log() - ratio.log().median()).abs().quantile(0.95) < 0.03
    assert unevenness(made, mask, labels) < 0.02


def test_the_shading_of_the_reference_scanner_comes_off_too():
    """A scan as the reference scanner makes it, which brightens along the columns."""
    image, mask, labels = folded()
    coefficients = prior().expected.coefficients.clone()
    coefficients[:, POWERS.index((0, 0, 1))] = 0.3
    own = replace(prior(), expected=TissueIntensity(coefficients, SPREAD))
    scan = torch.where(mask, image * (0.3 * brain_box(mask)[2]).exp(), 0)
    assert unevenness(scan, mask, labels) > 0.1
    assert unevenness(made_even(scan, mask, prior=own).image[:, 0], mask, labels) < 0.025


def test_another_round_changes_next_to_nothing():
    _, mask, _ = folded()
    image = shaded(1.6) / robust_maximum(shaded(1.6), mask, 99.5)
    scan = even_scan(image, image, mask, by_level, prior().expected, 2.0)
    assert scan.change < SETTLED


def test_a_factor_does_not_matter():
    _, mask, _ = folded()
    one, half = (made_even(factor * shaded(1.6), mask) for factor in (1.0, 0.5))
    torch.testing.assert_close(half.image, one.image, atol=1e-4, rtol=0)
    torch.testing.assert_close(half.gain[mask[:, None]], 2 * one.gain[mask[:, None]], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_orientation_does_not_matter(axis):
    _, mask, _ = folded()
    straight = made_even(shaded(1.6), mask).image[:, 0]
    turned = made_even(shaded(1.6).flip(axis), mask.flip(axis)).image[:, 0].flip(axis)
    ratio = (turned / straight)[mask].log()
    assert ratio.std() < 0.015


def test_a_scan_cut_at_the_neck_is_made_even_alike():
    _, mask, _ = folded()
    whole = made_even(shaded(1.6), mask).image[6:, 0]
    cut = made_even(shaded(1.6)[6:], mask[6:]).image[:, 0]
    ratio = (cut / whole)[mask[6:]].log()
    assert ratio[8:].std() < 0.02


def test_a_lesion_takes_the_gain_of_the_tissue_around_it():
    """Dark as fluid, which this scanner makes far darker; in white matter, of which the reference's is as bright."""
    _, mask, _ = folded()
    axes = torch.meshgrid(*(torch.arange(n) for n in SIZE), indexing="ij")
    far = sum((axis - n / 2).square() for axis, n in zip(axes, SIZE, strict=True)).sqrt()
    image = torch.where(mask, torch.where(far < 14, 0.89, folded()[0]), 0)
    lesion = far < 2.5
    image = torch.where(lesion, 0.31, image)
    white = torch.where(far < 14, 2, folded()[2])
    image = image * torch.where((white == 0) & ~lesion, 0.6, 1.0)
    made = made_even(image, mask).image[:, 0]
    around = (far > 4) & (far < 8)
    before, after = (float(each[lesion].mean() / each[around].mean()) for each in (image, made))
    assert after == pytest.approx(before, abs=0.03)


def test_the_report_says_that_the_result_is_even():
    _, mask, _ = folded()
    report = made_even(shaded(1.6), mask).report
    assert report.plain()["target"] == "even"
    assert report.shading > 0.5
    assert ("shading of the result", "even") in report.words()


def test_a_scan_beyond_what_is_known_is_returned_as_it_is(caplog):
    _, mask, _ = folded()
    made = made_even(shaded(1.6), mask, misfit=0.0)
    assert made.report.decision == "outside of what is known"
    assert torch.equal(made.image[:, 0], shaded(1.6))
    assert "outside of what is known" in caplog.text


def test_the_mean_over_a_neighbourhood_is_a_mean_and_ignores_what_has_no_weight():
    _, mask, _ = folded()
    constant = torch.where(mask, 0.7, 99.0)
    torch.testing.assert_close(smooth_mean(constant, mask.float(), 2.0, 12.0), torch.full(SIZE, 0.7), atol=1e-4, rtol=0)
    ramp = torch.linspace(-1, 1, SIZE[2]).expand(SIZE)
    middle = smooth_mean(ramp, torch.ones(SIZE), 2.0, 8.0)[:, :, 20:40]
    torch.testing.assert_close(middle, ramp[:, :, 20:40], atol=0.02, rtol=0)


def test_a_rough_field_follows_the_shading_and_not_the_scale():
    _, mask, _ = folded()
    field = rough_field(shaded(1.6), mask, 2.0)
    own, true = (each[mask] - each[mask].mean() for each in (field, coils(mask, 1.6)))
    assert torch.corrcoef(torch.stack((own, true)))[0, 1] > 0.95
    torch.testing.assert_close(
        rough_field(0.5 * shaded(1.6), mask, 2.0)[mask], field[mask] - torch.tensor(2.0).log(), atol=0.01, rtol=0
    )


def test_a_field_is_refined_by_what_every_tissue_says_is_left_of_it():
    image, mask, labels = folded()
    true = coils(mask, 0.3)
    maps = torch.stack([labels == k for k in range(3)]).float() * mask
    gains = torch.tensor([0.1, -0.1, 0.0])
    scan = torch.where(mask, image * (true + gains[labels]).exp(), 0)
    field, found = refined(scan, mask, maps, torch.zeros(SIZE), prior().expected, 2.0, 8.0)
    torch.testing.assert_close(found, gains, atol=0.01, rtol=0)
    assert (field - true)[mask].std() < 0.01
