"""The scanner of a scan as numbers and as words."""

from dataclasses import replace
from math import exp

import pytest
import torch
from brains import by_intensity, flat_prior, labelled, learned_prior, neutral_prior, phantom, scanner, stack

from harmony.scanner import INVERTED, MATCHED, NOTHING, OUTSIDE, SOFTENED, Resolution, ScannerReport, Shrunk, estimate
from harmony.scanner.report import largest_shading

KEYS = [
    "decision", "target", "gain_csf", "gain_grey", "gain_white", "doubt_csf", "doubt_grey", "doubt_white",
    "gains_likely", "shading", "shading_likely", "blur_slices", "blur_rows", "blur_columns", "noise", "shrunk",
    "untouched",
]  # fmt: skip


def report_of(**changes):
    image, mask, _ = phantom()
    prior = learned_prior()
    scan = replace(estimate(image, mask, by_intensity, prior), **changes)
    shrunk = Shrunk(scanner(), torch.linspace(0.1, 0.3, 22), gains_probability=0.9, shading_probability=0.2)
    return ScannerReport.of(scan, shrunk, prior, stack(image, mask))


def test_every_number_stands_under_its_own_name():
    width, noise = torch.tensor([0.5, 0.25, 0.0]), torch.tensor(0.03)
    report = report_of(resolution=Resolution(width, noise))
    assert report.gains == pytest.approx({"csf": exp(0.04), "grey": exp(0.08), "white": exp(-0.06)}, abs=1e-4)
    deviations = {"csf": 0.1, "grey": 0.1095, "white": 0.119}
    doubts = {name: deviations[name] * gain for name, gain in report.gains.items()}
    assert report.doubts == pytest.approx(doubts, abs=1e-3)
    assert (report.gains_likely, report.shading_likely) == (0.9, 0.2)
    assert report.blur == pytest.approx({"slices": 2.3548, "rows": 1.1774, "columns": 0}, abs=1e-4)  # mm, voxels of 2
    assert report.noise == pytest.approx(0.03)
    assert list(report.plain()) == KEYS
    assert list(report.decided(MATCHED, 0.5).plain()) == [*KEYS, "matched"]
    assert report.decided(MATCHED, 0.5).plain()["matched"] == 0.5


def test_what_a_scan_was_blurred_by_is_said_of_a_scan_that_was():
    softened = {"slices": 3.1, "rows": 2.0, "columns": 2.0}
    report = replace(report_of().decided(SOFTENED), softened=softened)
    assert {f"softened_{axis}": width for axis, width in softened.items()}.items() <= report.plain().items()
    assert ("blurred by", "3.1 × 2.0 × 2.0 mm FWHM along slices, rows, columns") in report.words()
    assert "blurred by" not in dict(report_of().words())
    assert report.left_alone is None


def test_what_was_shrunk_is_the_share_of_the_fit_that_is_gone():
    image, mask, _ = phantom()
    prior = learned_prior()
    scan = estimate(image, mask, by_intensity, prior)
    fit = replace(scan.fit, contrast=scanner().of(prior.own + 2 * scanner().theta))  # twice what is kept
    report = report_of(fit=fit)
    assert report.shrunk == pytest.approx(0.5, abs=1e-3)
    assert ScannerReport(decision=MATCHED).plain() == {"decision": MATCHED}


def test_the_largest_shading_is_a_factor_within_the_brain():
    image, mask, _ = phantom()
    contrast = scanner().of(torch.cat((torch.tensor([3.0, 1.0, 2.0]), torch.zeros(19))))
    assert largest_shading(contrast, stack(image, mask)) == 0  # gains are no shading
    contrast.field[2] = 0.2  # x: from exp(-0.2) to exp(0.2) along the last axis
    assert largest_shading(contrast, stack(image, mask)) == pytest.approx(exp(0.2) - 1, rel=0.05)


def test_tissues_are_those_of_the_prior_whatever_they_are_called():
    levels = torch.tensor([0.3, 0.5, 0.7, 1.0])
    prior = neutral_prior(("csf", "cortex", "deep", "white"), levels=levels)
    scan = labelled(3, levels)
    found = estimate(scan.image, scan.mask, lambda volume: by_intensity(volume, levels), prior)
    shrunk = prior.shrunk(found.fit.contrast, 0.9)
    report = ScannerReport.of(found, shrunk, prior, stack(scan.image, scan.mask))
    assert [key for key in report.plain() if key.startswith("gain_")] == [
        "gain_csf",
        "gain_cortex",
        "gain_deep",
        "gain_white",
    ]
    assert "cortex" in dict(report.words())["gains"]
    assert flat_prior().tissues == ("csf", "grey", "white")


def test_a_scanner_in_words():
    report = ScannerReport(
        decision=INVERTED,
        gains={"csf": 0.96, "grey": 1.08, "white": 0.89},
        doubts={"csf": 0.02, "grey": 0.03, "white": 0.01},
        gains_likely=0.98,
        shading=0.18,
        shading_likely=0.4,
        blur={"slices": 1.7, "rows": 1.6, "columns": 0.0},
        noise=0.035,
        shrunk=0.25,
        untouched=34.0,
    )
    entries = dict(report.words())
    assert entries["gains"] == "csf 0.96 ± 0.02, grey 1.08 ± 0.03, white 0.89 ± 0.01 (98% that there are any)"
    assert entries["shading"] == "up to 18% (40% that there is any)"
    assert entries["blur"].startswith("1.7 × 1.6 × 0.0 mm")
    assert entries["noise"].startswith("3.5%")
    assert entries["shrunk"].startswith("by 25%")
    assert entries["distance from untouched scans"].startswith("34.00 as it is (")
    both = dict(report.decided(MATCHED, 2.0).words())
    assert both["distance from untouched scans"].startswith("34.00 as it is, 2.00 after histogram matching (")
    assert ScannerReport(decision=MATCHED).words() == [("decision", MATCHED)]
    alone = [ScannerReport(decision=decision).left_alone for decision in (NOTHING, OUTSIDE, INVERTED, MATCHED)]
    assert [reason is None for reason in alone] == [False, False, True, True]
