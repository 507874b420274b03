"""What scanner inversion decides, on phantoms whose tissues, scanner and reference are known."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from brains import (
    TISSUES,
    blurred,
    by_intensity,
    histograms,
    learned_prior,
    phantom,
    scanned,
    scanner,
    stack,
    volume,
)

from harmony.core.intensity_curve import IntensityCurve
from harmony.core.measures import robust_maximum
from harmony.core.reference import curved
from harmony.methods import ScannerInversion
from harmony.metrics import psnr
from harmony.networks import TissueNet
from harmony.scanner import Resolution, TextureModel, estimate

BOTH = "one curve and more: histogram matching, then inverted"


def method(**changes):
    settings = {
        "shading": "reference",
        "percentile": 99.5,
        "any_probability": 0.9,
        "nearer": 0.6,
        "matching": 0.4,
        "most_noise": 0.2,
        "widest": 2.0,
        "unlikely": 100.0,
        "misfit": 100.0,
    }
    known = {"map_network": by_intensity, "prior": learned_prior(), "reference": histograms()}
    return ScannerInversion(**(known | settings | changes))


def test_an_untouched_scan_is_left_alone_and_its_estimate_shrunk_to_nothing():
    image, mask, _ = phantom(seed=99)
    made = method().harmonize(stack(image, mask))
    assert made.report.decision == "nothing needed"
    assert torch.equal(made.image[:, 0], image)
    wide = replace(learned_prior(), own_covariance=torch.eye(22))
    kept = wide.shrunk(estimate(image, mask, by_intensity, wide).fit.contrast, 0.9).contrast
    assert kept.theta.abs().max() < 0.01


def test_a_touched_scan_is_not_left_alone():
    image, mask, maps = phantom(seed=99)
    made = method().harmonize(stack(scanned(image, mask, maps, scanner()), mask))
    assert made.report.decision == "inverted"
    assert psnr(made.image, image[:, None]) > 35


def soft_method(soft, mask, **changes):
    """Of a reference scanner that blurs as this scan."""
    known = {"prior": learned_prior(0.6), "reference": histograms(volume(soft, mask))}
    return method(**(known | changes))


def test_a_scan_that_is_sharper_than_the_reference_is_blurred_as_the_reference_scanner_would_have():
    image, mask, _ = phantom(seed=99)
    soft, _ = blurred(image, mask, 0.6)
    prior = learned_prior(0.6)
    untouched = replace(prior, raw=replace(prior.raw, limit=1e3 * prior.raw.limit))
    method_of_soft = soft_method(soft, mask, prior=untouched)
    made = method_of_soft.harmonize(stack(image, mask))
    assert made.report.decision == "blurred as the reference scanner is"
    assert psnr(made.image, soft[:, None]) > psnr(image[:, None], soft[:, None]) + 8
    again = method_of_soft.harmonize(stack(made.image[:, 0], mask))
    assert again.report.decision == "nothing needed"
    assert not again.report.softened
    width = made.report.softened["rows"] / 2.355 / 2  # of mm of FWHM
    torch.testing.assert_close(made.image[:, 0], blurred(image, mask, width)[0], atol=0.01, rtol=0)


def test_what_a_first_reading_falls_short_of_is_blurred_in_a_second(monkeypatch):
    image, mask, _ = phantom(seed=99)
    readings = iter([torch.full((3,), 0.4), torch.full((3,), 0.3), torch.zeros(3)])
    monkeypatch.setattr(TextureModel, "softening", lambda model, read: next(readings))
    made = method(unlikely=1e9, misfit=1e9).harmonize(stack(image, mask))
    assert made.report.softened["rows"] == pytest.approx(2.355 * 2 * 0.5, rel=0.01)  # variances add up


def test_an_even_result_is_blurred_likewise():
    image, mask, _ = phantom(seed=99)
    made = soft_method(blurred(image, mask, 0.6)[0], mask, shading="even")
    sharp = made.harmonize(stack(image, mask))
    width = sharp.report.softened["rows"] / 2.355 / 2
    soft = made.harmonize(stack(blurred(image, mask, width)[0], mask))
    torch.testing.assert_close(sharp.image, soft.image, atol=0.01, rtol=0)


def test_a_blurred_scan_has_no_curve_of_its_own_and_one_unlike_all_that_is_known_comes_back_sharp():
    image, mask, maps = phantom(seed=99)
    query, soft = stack(scanned(image, mask, maps, scanner()), mask), blurred(image, mask, 0.6)[0]
    one = soft_method(soft, mask, prior=with_matched(learned_prior(0.6), 1e9)).harmonize(query)
    assert one.report.decision == "one curve: histogram matching"
    assert one.report.softened
    assert one.curve is None
    unknown = soft_method(soft, mask, unlikely=1e-3).harmonize(query)
    assert unknown.report.decision == "outside of what is known"
    assert torch.equal(unknown.image, query.image)


def test_a_scan_times_a_factor_gives_the_same_result():
    image, mask, maps = phantom()
    query = scanned(image, mask, maps, scanner(0.8))
    made, half = (method().harmonize(stack(factor * query, mask)) for factor in (1.0, 0.5))
    torch.testing.assert_close(half.image, made.image, atol=1e-5, rtol=0)
    torch.testing.assert_close(half.gain[mask[:, None]], 2 * made.gain[mask[:, None]], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_order_of_slices_and_the_orientation_do_not_matter(axis):
    image, mask, maps = phantom()
    query = scanned(image, mask, maps, scanner())
    made = method(matching=0.0)  # three flat tissues have a histogram of three cliffs
    straight = made.harmonize(stack(query, mask)).image[:, 0]
    turned = made.harmonize(stack(query.flip(axis), mask.flip(axis))).image[:, 0].flip(axis)
    torch.testing.assert_close(turned, straight, atol=6e-3, rtol=0)  # the gains are fitted to every fourth voxel


def test_the_inverted_scan_is_matched_in_part():
    image, mask, maps = phantom()
    query = stack(scanned(image, mask, maps, scanner()) ** 1.3, mask)
    none, part, whole = (method(matching=share).harmonize(query).image for share in (0.0, 0.4, 1.0))
    assert (whole - none).abs().max() > 0.02
    torch.testing.assert_close(part, torch.lerp(none, whole, 0.4))
    pooled = method().reference.match(replace(query, image=none))
    torch.testing.assert_close(whole, pooled)


class Undoing:
    """In the place of a reference: it knows that an intensity was raised to this power."""

    def __init__(self, power):
        levels = np.linspace(0, 1, 4097)
        self.known = IntensityCurve(levels, levels ** (1 / power))

    def curve(self, stack):
        return self.known

    def match(self, stack):
        return stack.image


@pytest.mark.parametrize("power", [0.7, 1.5])
def test_of_a_curve_and_more_the_curve_is_undone_first_and_what_is_left_is_inverted_as_if_there_were_none(power):
    image, mask, maps = phantom(seed=99)
    shaded = scanned(image, mask, maps, scanner())
    shaded = (shaded / robust_maximum(shaded, mask, 99.5)).clamp(max=1)
    made = method(reference=Undoing(power), prior=with_matched(learned_prior(), 1), nearer=1e9)
    both = made.harmonize(stack(shaded**power, mask))
    alone = method(reference=Undoing(1)).harmonize(stack(shaded, mask))
    assert alone.report.decision == "inverted"
    assert both.report.decision == BOTH
    assert both.report.matched < both.report.untouched
    assert both.report.gains == pytest.approx(alone.report.gains, abs=2e-3)
    torch.testing.assert_close(both.image, alone.image, atol=2e-3, rtol=0)
    torch.testing.assert_close(both.gain, alone.gain, atol=1e-2, rtol=0)
    assert both.curve is None  # it is more than that


def where_the_matched_is(share, monkeypatch, power=1.5):
    """What becomes of a scan of the power 1.5, where what is matched first is at this share of the distance."""
    image, mask, maps = phantom(seed=99)
    query = stack(scanned(image, mask, maps, scanner()) ** 1.5, mask)
    known = with_matched(learned_prior(), 1)
    made = method(reference=Undoing(power), prior=known, unlikely=1e12, misfit=1e12, nearer=0.6)
    monkeypatch.setattr(made, "_distance", lambda result, stack: share if result.report.decision == BOTH else 1.0)
    return made.harmonize(query).report


@pytest.mark.parametrize(("share", "decision"), [(0.59, BOTH), (0.61, "inverted")])
def test_what_is_matched_first_is_taken_where_it_looks_clearly_more_like_untouched_scans(share, decision, monkeypatch):
    assert where_the_matched_is(share, monkeypatch).decision == decision


def test_where_matching_takes_a_scan_away_from_untouched_ones_the_scan_is_inverted(monkeypatch):
    far = where_the_matched_is(0.0, monkeypatch, power=0.2)
    assert far.decision == "inverted"
    assert far.matched > far.untouched


def test_a_scan_whose_curve_is_all_that_is_unknown_is_matched_and_inverted(monkeypatch):
    image, mask, maps = phantom(seed=99)
    made = method(reference=Undoing(1.5), prior=with_matched(learned_prior(), 1), nearer=0.0)
    answers = iter([True, False])  # of the scan, of the matched
    monkeypatch.setattr(made, "_outside", lambda scan: next(answers))
    assert made.harmonize(stack(scanned(image, mask, maps, scanner()) ** 1.5, mask)).report.decision == BOTH


def test_of_a_curve_and_more_nothing_is_kept_where_the_rest_is_outside_of_what_is_known():
    image, mask, maps = phantom(seed=99)
    query = stack(scanned(image, mask, maps, scanner()) ** 1.5, mask)
    prior = with_matched(learned_prior(), 1)
    left = method(reference=Undoing(1.5), prior=prior, unlikely=1e-3).harmonize(query)
    assert left.report.decision == "outside of what is known"
    assert torch.equal(left.image, query.image)


@pytest.mark.gpu
def test_on_a_card_the_numbers_are_those_of_the_cpu():
    image, mask, maps = phantom()
    query, here, there = stack(scanned(image, mask, maps, scanner()), mask), method(), method()
    here.map_network = TissueNet(tissues=TISSUES, widths=[8, 8]).eval()
    there.map_network = copy.deepcopy(here.map_network).to("cuda")
    made, on_card = here.harmonize(query), there.harmonize(query.to(torch.device("cuda")))
    assert on_card.image.is_cuda
    assert on_card.report.decision == made.report.decision
    torch.testing.assert_close(on_card.image.cpu(), made.image, atol=1e-2, rtol=0)


def with_matched(prior, limit):
    """A prior to which matched scans look as others do, and untouched so much sooner."""
    return replace(prior, matched=replace(prior.raw, limit=limit * prior.raw.limit))


@pytest.mark.parametrize("distance", [0.5, 2.0])
def test_a_scan_that_looks_untouched_once_it_is_matched_has_one_curve(distance):
    image, mask, maps = phantom()
    query = stack(scanned(image, mask, maps, scanner()), mask)
    matched = method(prior=with_matched(learned_prior(), 1)).harmonize(query).report.matched
    made = method(prior=with_matched(learned_prior(), matched / distance))
    one = made.harmonize(query)
    assert one.report.matched == pytest.approx(distance, rel=1e-3)
    assert (one.report.decision == "one curve: histogram matching") == (distance <= 1)
    if distance <= 1:
        assert torch.equal(one.image, made.reference.match(query))
        assert torch.equal(one.image, curved(query, one.curve))
        assert one.gain is None


def test_outside_of_the_mask_nothing_changes():
    image, mask, maps = phantom()
    made = method().harmonize(stack(scanned(image, mask, maps, scanner()), mask))
    assert (made.image[~mask[:, None]] == 0).all()
    assert (made.gain[~mask[:, None]] * method().harmonize(stack(image, mask)).image[~mask[:, None]] == 0).all()


@pytest.mark.parametrize("limit", ["unlikely", "misfit"])
def test_a_scan_outside_of_what_is_known_is_said_loudly_and_returned_as_it_is(limit, caplog):
    image, mask, maps = phantom()
    query = scanned(image, mask, maps, scanner())
    with caplog.at_level("WARNING"):
        made = method(**{limit: 1e-3}).harmonize(stack(query, mask))
    assert made.report.decision == "outside of what is known"
    assert "outside of what is known" in caplog.text
    assert torch.equal(made.image[:, 0], query)


def test_the_report_says_what_was_done():
    image, mask, maps = phantom()
    report = method().harmonize(stack(scanned(image, mask, maps, scanner()), mask)).report.plain()
    ratio = report["gain_grey"] / report["gain_white"]
    assert ratio == pytest.approx(torch.tensor(0.14).exp().item(), rel=0.03)
    assert report["shrunk"] == pytest.approx(0, abs=0.1)  # of what is certain, nothing
    assert {"shading", "noise", "blur_rows", "doubt_grey"} <= report.keys()


@pytest.mark.parametrize(("limit", "width", "noise"), [("widest", 1.2, 0.0), ("most_noise", 0.0, 0.12)])
def test_more_blur_or_noise_than_the_network_was_trained_on_is_outside(limit, width, noise):
    """Along any axis."""
    image, mask, maps = phantom()
    scan = method().estimate(scanned(image, mask, maps, scanner()), mask)
    scan = replace(scan, resolution=Resolution(torch.tensor([0.0, width, 0.0]), torch.tensor(noise)))
    amount = max(width, noise)
    assert method(**{limit: 0.9 * amount})._outside(scan)
    assert not method(**{limit: 1.1 * amount})._outside(scan)
