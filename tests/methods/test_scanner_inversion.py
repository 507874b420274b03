"""Laws of scanner inversion, on phantoms whose tissues, scanner and reference are known."""

import copy
import functools
from dataclasses import replace

import pytest
import torch

from harmony.core import Stack, Volume
from harmony.core.manifest import Scan
from harmony.core.reference import Reference
from harmony.data.volumes.transforms import robust_maximum
from harmony.methods import ScannerInversion
from harmony.metrics import psnr
from harmony.networks import TissueNet
from harmony.scanner import (
    Contrast,
    Resolution,
    Shrunk,
    brain_box,
    deblur,
    estimate,
    gaussian_inside,
    mean_spectrum,
    texture,
)
from harmony.scanner.calibration import reading_of, untouched
from harmony.scanner.prior import SOME
from harmony.scanner.report import ScannerReport

LEVELS = torch.tensor([0.35, 0.7, 1.0])
SIZE = (26, 32, 40)


class ByIntensity:
    """In the place of the network: each voxel alone, by its distance to each tissue. It knows no direction."""

    def __init__(self):
        neutral = TissueNet(tissues=3, widths=[4, 4], frequencies=16).prior
        expected = replace(neutral.expected, coefficients=torch.zeros(3, 20), spread=torch.full((3,), 0.05))
        expected.coefficients[:, 0] = LEVELS.log()
        self.prior = replace(neutral, expected=expected, own_covariance=1e-9 * torch.eye(22))

    def __call__(self, volume):
        distance = volume[:, :1].clamp(min=1e-3).log() - LEVELS.log().view(3, 1, 1, 1)
        return -0.5 * (distance / 0.07).square()


def phantom(seed=0, texture=0.01):
    """Nested tissues in an ellipsoid: image (S, H, W), mask, maps (3, S, H, W)."""
    axes = [torch.linspace(-1.1, 1.1, n) for n in SIZE]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    radius = (z**2 + y**2 + x**2).sqrt() + 0.05 * torch.sin(9 * x) * torch.cos(7 * y)
    mask = z**2 + y**2 + x**2 < 1
    tissue = (radius < 0.85).int() + (radius < 0.6).int()
    maps = torch.stack([(tissue == k) & mask for k in range(3)]).float()
    noise = torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))
    image = torch.where(mask, LEVELS[tissue.long()] * (texture * noise).exp(), 0)
    return (image / robust_maximum(image, mask, 99.5)).clamp(max=1), mask, maps


def scanner(strength=1.0):
    field = torch.randn(19, generator=torch.Generator().manual_seed(5))
    return Contrast(strength * torch.tensor([0.04, 0.08, -0.06]), strength * 0.015 * field)


def seen(image, mask, maps, contrast):
    return torch.where(mask, image * (maps * contrast.log_over(brain_box(mask)).exp()).sum(0), 0)


def stack(image, mask):
    return Stack(image[:, None], mask[:, None], torch.linspace(0, 1, len(image)), (2.0, 2.0, 2.0))


def method(**changes):
    image, mask, _ = phantom()
    volume = Volume(Scan("x.nii", "sub-1"), image, mask, None, torch.eye(4).numpy(), 1.0)
    settings = {
        "percentile": 99.5,
        "one_curve": 0.33,
        "matching": 0.4,
        "most_noise": 0.2,
        "widest": 2.0,
        "unlikely": 100.0,
        "misfit": 100.0,
    } | changes
    reference = Reference.of([volume], positions=8, quantiles=256)
    return ScannerInversion(tissue=calibrated(), reference=reference, **settings)


@functools.cache
def calibrated():
    """A network whose prior has seen 12 untouched phantoms."""
    network = ByIntensity()
    phantoms = [phantom(seed)[:2] for seed in range(1, 13)]
    network.prior = replace(network.prior, reading=reading_of([texture(*each) for each in phantoms], 1.1))
    found = [estimate(*each, network, network.prior) for each in phantoms]
    own = torch.stack([each.fit.contrast.theta for each in found]).mean(0)
    network.prior = replace(network.prior, raw=untouched(found, 1.5), own=own)
    return network


def test_a_scanner_that_the_model_can_express_is_undone_with_true_maps():
    image, mask, maps = phantom()
    network, true = ByIntensity(), scanner()
    query = seen(image, mask, maps, true)
    known = {"resolution": Resolution(torch.zeros(3), torch.zeros(())), "maps": maps}
    found, own = (estimate(each, mask, network, network.prior, **known) for each in (query, image))
    contrast = Contrast.of(found.fit.contrast.theta - own.fit.contrast.theta)
    restored = torch.where(mask, found.clear * found.gain(contrast, network.prior.expected, mask), 0)
    assert psnr(query[:, None], image[:, None]) < 32
    assert psnr(restored[:, None], image[:, None]) > 45
    torch.testing.assert_close(contrast.theta, true.theta, atol=5e-3, rtol=0)


def test_an_untouched_scan_is_left_alone_and_its_estimate_shrunk_to_nothing():
    image, mask, _ = phantom(seed=99)
    made = method().harmonize(stack(image, mask))
    assert made.report.decision == "nothing needed"
    assert torch.equal(made.image[:, 0], image)
    wide = replace(calibrated().prior, own_covariance=torch.eye(22))
    kept = wide.shrunk(estimate(image, mask, calibrated(), wide).fit.contrast).contrast
    assert kept.theta.abs().max() < 0.01


def test_a_touched_scan_is_not_left_alone():
    image, mask, maps = phantom(seed=99)
    made = method().harmonize(stack(seen(image, mask, maps, scanner()), mask))
    assert made.report.decision == "inverted"
    assert psnr(made.image, image[:, None]) > 35


def test_a_scan_times_a_factor_gives_the_same_result():
    image, mask, maps = phantom()
    query = seen(image, mask, maps, scanner(0.8))
    made, half = (method().harmonize(stack(factor * query, mask)) for factor in (1.0, 0.5))
    torch.testing.assert_close(half.image, made.image, atol=1e-5, rtol=0)
    torch.testing.assert_close(half.gain[mask[:, None]], 2 * made.gain[mask[:, None]], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_order_of_slices_and_the_orientation_do_not_matter(axis):
    image, mask, maps = phantom()
    query = seen(image, mask, maps, scanner())
    made = method(matching=0.0)  # three flat tissues have a histogram of three cliffs
    straight = made.harmonize(stack(query, mask)).image[:, 0]
    turned = made.harmonize(stack(query.flip(axis), mask.flip(axis))).image[:, 0].flip(axis)
    torch.testing.assert_close(turned, straight, atol=6e-3, rtol=0)  # the gains are fitted to every fourth voxel


def test_the_inverted_scan_is_matched_in_part():
    image, mask, maps = phantom()
    query = stack(seen(image, mask, maps, scanner()) ** 1.3, mask)
    none, part, whole = (method(matching=share, one_curve=0).harmonize(query).image for share in (0.0, 0.4, 1.0))
    assert (whole - none).abs().max() > 0.02
    torch.testing.assert_close(part, torch.lerp(none, whole, 0.4))
    pooled = method().reference.match(replace(query, image=none))
    torch.testing.assert_close(whole, pooled)


@pytest.mark.parametrize(("one_curve", "decision"), [(0.0, "inverted"), (1e6, "one curve: histogram matching")])
def test_one_curve_is_what_matching_brings_far_nearer_to_untouched_scans(one_curve, decision):
    image, mask, maps = phantom()
    query = stack(seen(image, mask, maps, scanner()), mask)
    made = method(one_curve=one_curve)
    found = made.harmonize(query)
    assert found.report.decision == decision
    assert torch.equal(found.image, made.reference.match(query)) == (one_curve > 0)


@pytest.mark.gpu
def test_on_a_card_the_numbers_are_those_of_the_cpu():
    image, mask, maps = phantom()
    query, here, there = stack(seen(image, mask, maps, scanner()), mask), method(), method()
    here.tissue = TissueNet(tissues=3, widths=[8, 8], frequencies=64).eval()
    there.tissue = copy.deepcopy(here.tissue).to("cuda")
    made, on_card = here.harmonize(query), there.harmonize(query.to(torch.device("cuda")))
    assert on_card.image.is_cuda
    assert on_card.report.decision == made.report.decision
    torch.testing.assert_close(on_card.image.cpu(), made.image, atol=1e-2, rtol=0)


def test_a_scan_that_looks_untouched_once_it_is_matched_has_one_curve():
    image, mask, maps = phantom()
    made = method(one_curve=0.0)
    made.tissue, prior = copy.copy(made.tissue), made.tissue.prior
    made.tissue.prior = replace(prior, matched=replace(prior.matched, limit=1e9 * prior.matched.limit))
    found = made.harmonize(stack(seen(image, mask, maps, scanner()), mask))
    assert found.report.decision == "one curve: histogram matching"


def test_a_voxel_of_two_tissues_is_undone_as_the_mixture_that_it_is():
    """Fluid that the scanner makes far darker, in a voxel that is mostly white matter: no bright rim."""
    _, mask, maps = phantom(texture=0.0)
    network = ByIntensity()
    shares = torch.tensor([0.3, 0.0, 0.7]).view(3, 1, 1, 1) * mask
    contrast = Contrast(torch.tensor([0.4, 0.85, 0.85]).log(), scanner().field)
    levels = network.prior.expected.log_over(brain_box(mask)).exp()
    true = torch.where(mask, (shares * levels).sum(0), 0)
    query = torch.where(mask, (shares * levels * contrast.log_over(brain_box(mask)).exp()).sum(0), 0)
    found = replace(estimate(query, mask, network, network.prior, maps=maps), clear=query, maps=shares)
    restored = found.restored(found.gain(contrast, network.prior.expected, mask), mask)
    torch.testing.assert_close(restored, true)


def test_a_voxel_without_any_tissue_is_left_as_it_is():
    image, mask, maps = phantom()
    found = estimate(image, mask, ByIntensity(), ByIntensity().prior, maps=torch.zeros_like(maps))
    assert (found.gain(scanner(), ByIntensity().prior.expected, mask) == 1).all()


def test_what_is_restored_is_an_image_of_the_brain():
    """A deblurred voxel overshoots, and so may what it is multiplied with."""
    image, mask, maps = phantom()
    found = replace(estimate(image, mask, ByIntensity(), ByIntensity().prior, maps=maps), clear=image + 0.4)
    made = found.restored(torch.full_like(image, 1.2), mask)
    assert made.max() == 1
    assert (made[~mask] == 0).all()
    torch.testing.assert_close(made[mask], (1.2 * (image + 0.4))[mask].clamp(max=1))


def test_outside_of_the_mask_nothing_changes():
    image, mask, maps = phantom()
    made = method().harmonize(stack(seen(image, mask, maps, scanner()), mask))
    assert (made.image[~mask[:, None]] == 0).all()
    assert (made.gain[~mask[:, None]] * method().harmonize(stack(image, mask)).image[~mask[:, None]] == 0).all()


@pytest.mark.parametrize("limit", ["unlikely", "misfit"])
def test_a_scan_outside_of_what_is_known_is_said_loudly_and_returned_as_it_is(limit, caplog):
    image, mask, maps = phantom()
    query = seen(image, mask, maps, scanner())
    with caplog.at_level("WARNING"):
        made = method(**{limit: 1e-3}).harmonize(stack(query, mask))
    assert made.report.decision == "outside of what is known"
    assert "outside of what is known" in caplog.text
    assert torch.equal(made.image[:, 0], query)


def test_the_report_says_what_was_done():
    image, mask, maps = phantom()
    report = method().harmonize(stack(seen(image, mask, maps, scanner()), mask)).report.plain()
    ratio = report["gain_grey"] / report["gain_white"]
    assert ratio == pytest.approx(torch.tensor(0.14).exp().item(), rel=0.03)
    assert report["shrunk"] == pytest.approx(0, abs=0.1)  # of what is certain, nothing
    assert {"shading", "noise", "blur_rows", "doubt_grey"} <= report.keys()


def test_the_report_tells_gains_from_shading():
    image, mask, _ = phantom()
    found = estimate(image, mask, calibrated(), calibrated().prior)
    scanner = Shrunk(found.fit.contrast, torch.linspace(0.1, 0.3, 22), gains=0.9, shading=0.2)
    report = ScannerReport.of(found, scanner, calibrated().prior, stack(image, mask))
    assert (report.gains_likely, report.shading_likely) == (0.9, 0.2)
    assert report.doubt_csf == pytest.approx(0.1 * report.gain_csf, abs=1e-3)


def test_shrinkage_keeps_what_scanners_do_and_drops_what_subjects_do():
    prior = ByIntensity().prior
    contrast = scanner()
    nothing = replace(prior, own_covariance=1e6 * torch.eye(22)).shrunk(contrast).contrast
    everything = replace(prior, own_covariance=1e-9 * torch.eye(22)).shrunk(contrast).contrast
    assert nothing.theta.abs().max() < 1e-6
    torch.testing.assert_close(everything.theta, contrast.theta, atol=1e-5, rtol=1e-5)
    usual = (
        replace(prior, own=contrast.theta).shrunk(contrast).contrast
    )  # what subjects have on the mean is no scanner's
    assert usual.theta.abs().max() < 1e-6


def test_shrinkage_is_the_posterior_mean_of_scanners_that_have_gains_or_shading_or_not():
    """Against draws: of all scanners and subjects that give nearly this fit, the mean of what the scanner did."""
    draw = torch.Generator().manual_seed(0)
    count, own, scanners = 400_000, torch.full((22,), 0.02), torch.full((22,), 0.08)
    has = torch.rand((count, 2), generator=draw) < SOME
    on = torch.cat((has[:, :1].expand(-1, 3), has[:, 1:].expand(-1, 19)), dim=1)
    prior = replace(ByIntensity().prior, own_covariance=torch.diag(own**2), scanners=scanners**2)
    did = on * scanners * torch.randn((count, 22), generator=draw)
    near = 0.01  # of the fit, normally: as if so much of what subjects have came after the draw
    theta = did + (own**2 - near**2).sqrt() * torch.randn((count, 22), generator=draw)
    fit = torch.zeros(22)
    fit[:3] = torch.tensor([0.05, -0.03, 0.02])  # gains that may be the subject's; a shading of any size is not
    fit[5] = 0.09
    weight = (-0.5 * ((theta[:, :3] - fit[:3]) / near).square().sum(1)).exp()  # the coefficients are independent
    found = prior.shrunk(Contrast.of(fit))
    expected = (weight[:, None] * did[:, :3]).sum(0) / weight.sum()
    torch.testing.assert_close(found.contrast.log_gains, expected, atol=4e-3, rtol=0)
    assert found.gains == pytest.approx(float((weight * has[:, 0]).sum() / weight.sum()), abs=0.05)
    spread = ((weight[:, None] * did[:, :3].square()).sum(0) / weight.sum() - expected.square()).sqrt()
    torch.testing.assert_close(found.deviation[:3], spread, atol=4e-3, rtol=0)
    quiet = prior.shrunk(Contrast.of(0.3 * fit))
    assert quiet.gains < 0.2
    assert found.gains > 0.5
    assert quiet.contrast.theta.norm() < 0.1 * found.contrast.theta.norm()


def test_the_prior_of_a_network_is_its_buffers():
    network = TissueNet(tissues=3, widths=[4, 4], frequencies=16)
    before = network.prior
    network.prior = replace(before, own=torch.arange(22.0), raw=replace(before.raw, limit=torch.tensor(7.0)))
    again = TissueNet(tissues=3, widths=[4, 4], frequencies=16)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.prior.own, torch.arange(22.0))
    assert float(again.prior.raw.limit) == 7.0
    assert torch.equal(again.prior.matched.precision, before.matched.precision)


def test_blur_is_undone_by_the_filter():
    image, mask, _ = phantom(texture=0.03)
    width = torch.tensor([0.5, 0.8, 0.8])
    query = gaussian_inside(image, mask, width)
    clear = deblur(query, mask, Resolution(width, torch.tensor(1e-3)), mean_spectrum(image, mask, 64))
    assert psnr(clear[:, None], image[:, None]) > psnr(query[:, None], image[:, None]) + 4
