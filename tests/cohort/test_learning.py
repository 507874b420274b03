"""A reference from scans: what is measured of each, who is left out, and the mistakes of one line."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from brains import LEVELS, TISSUES, by_intensity, histograms, labelled, learned_prior

from harmony.cohort.learning import LEAST, Learner, gather
from harmony.cohort.measures import BINS, measure
from harmony.core import ConfigError, DataError, Scan, interrupts
from harmony.scanner import Calibration, estimate


class Shelf:
    """In the place of a cache: volumes by the scan's name, and whom it was asked for."""

    def __init__(self, volumes):
        self.volumes, self.asked = volumes, []

    def get(self, scan):
        self.asked.append(scan.name)
        found = self.volumes[scan.name]
        if isinstance(found, Exception):
            raise found
        return replace(found, scan=scan)


def shelf(count=LEAST, **others):
    volumes = {f"sub-{k}": labelled(k) for k in range(count)} | others
    return Shelf(volumes), [Scan(Path(f"{name}.nii"), name, age=40.0) for name in volumes]


def dimmed(seed, level):
    """With another brightness of grey matter."""
    volume = labelled(seed)
    return replace(volume, image=torch.where(volume.labels == 2, volume.image * level, volume.image))


def test_what_is_measured_of_a_scan():
    volume = labelled(0)
    found = measure(volume, by_intensity)
    ml = float(torch.linalg.det(torch.from_numpy(volume.affine[:3, :3])).abs()) / 1000
    for k, name in enumerate(("csf", "gm", "wm"), start=1):
        inside = int((volume.mask & (volume.labels == k)).sum())
        assert found.values[f"volume_{name}_ml"] == pytest.approx(inside * ml, rel=0.05)
    assert found.values["contrast_gm_wm"] == pytest.approx(float(LEVELS[1] / LEVELS[2]), abs=0.02)
    assert found.values["contrast_csf_wm"] == pytest.approx(float(LEVELS[0] / LEVELS[2]), abs=0.02)
    assert found.values["volume_brain_ml"] == pytest.approx(float(volume.mask.sum() * ml))
    assert len(found.histogram) == BINS
    assert sum(found.histogram) == pytest.approx(1, abs=1e-5)


def test_grey_matter_of_several_kinds_is_one_volume_and_the_cortex_says_its_contrast():
    """A network that tells deep grey matter: here the grey of every other row."""

    def four(given):
        csf, grey, white = by_intensity(given).unbind(1)
        deep = torch.zeros_like(grey, dtype=torch.bool)
        deep[..., ::2] = True
        return torch.stack((csf, grey - 99 * deep, grey - 99 * ~deep, white), dim=1)

    volume = labelled(0)
    three, other = measure(volume, by_intensity).values, measure(volume, four).values
    for name in ("volume_csf_ml", "volume_gm_ml", "volume_wm_ml", "contrast_gm_wm"):
        assert other[name] == pytest.approx(three[name], rel=0.02), name


def test_a_scan_without_tissues_is_named():
    volume = labelled(0)
    flat = replace(volume, image=torch.where(volume.mask, torch.full_like(volume.image, float(LEVELS[2])), 0))
    with pytest.raises(DataError, match="hardly any fluid") as caught:
        measure(flat, by_intensity)
    assert caught.value.subject == volume.scan.subject


def test_scans_that_are_alike_are_all_kept():
    cache, scans = shelf()
    found = gather(scans, cache, by_intensity)
    assert len(found.volumes) == LEAST
    assert found.left_out == []


def test_a_scan_of_another_scanner_is_left_out_and_named():
    cache, scans = shelf(10, odd=dimmed(11, 0.85))
    found = gather(scans, cache, by_intensity)
    assert [each.name for each in found.left_out] == ["odd"]
    assert "grey over white matter" in found.left_out[0].reason
    assert [volume.scan.name for volume in found.volumes] == [f"sub-{k}" for k in range(10)]


def test_two_scanners_are_no_reference():
    cache, scans = shelf(8, **{f"odd-{k}": dimmed(20 + k, 0.85) for k in range(3)})
    with pytest.raises(ConfigError, match="3 of 11 scans are unlike the others"):
        gather(scans, cache, by_intensity)


@pytest.mark.parametrize("count", [1, LEAST - 1])
def test_too_few_scans(count):
    cache, scans = shelf(count)
    with pytest.raises(ConfigError, match=f"{count} scans: a reference takes {LEAST}, better 20"):
        gather(scans, cache, by_intensity)
    assert cache.asked == []


def test_too_few_that_are_alike():
    cache, scans = shelf(LEAST - 1, odd=dimmed(11, 0.85))
    with pytest.raises(ConfigError, match="7 scans that are alike"):
        gather(scans, cache, by_intensity)


def test_children_are_named_before_anything_is_read():
    cache, scans = shelf()
    scans[3] = replace(scans[3], age=5.0)
    with pytest.raises(ConfigError, match=r"sub-3 \(5\)"):
        gather(scans, cache, by_intensity)
    assert cache.asked == []


def test_another_contrast_is_named_whatever_the_file_is_called():
    volume = labelled(9)
    bright = torch.where(volume.labels == 1, 1.3 * LEVELS[2] * torch.ones_like(volume.image), volume.image)
    cache, scans = shelf(8, t2=replace(volume, image=bright))

    def network(batch):  # finds the fluid where it is bright
        levels = torch.tensor([1.3 * float(LEVELS[2]), float(LEVELS[1]), float(LEVELS[2])])
        return by_intensity(batch, levels if float(batch.max()) > 1.15 * float(LEVELS[2]) else LEVELS)

    with pytest.raises(DataError, match="not T1w") as caught:
        gather(scans, cache, network)
    assert caught.value.subject == "t2"


def test_a_scan_that_cannot_be_read_is_named():
    broken = DataError("the file is truncated", cure="copy it again", path=Path("x.nii"), subject="sub-9")
    cache, scans = shelf(8, broken=broken)
    with pytest.raises(DataError, match="truncated"):
        gather(scans, cache, by_intensity)


def test_it_can_be_stopped(monkeypatch):
    cache, scans = shelf()
    monkeypatch.setattr(interrupts, "_received", [15])
    with pytest.raises(interrupts.Interrupted):
        gather(scans, cache, by_intensity)
    assert cache.asked == []


def test_another_scanner_becomes_the_reference_without_labels():
    volumes, known = [replace(labelled(k), labels=None) for k in range(10)], learned_prior()
    learner = Learner(
        network=by_intensity,
        calibration=Calibration(frequencies=32, every=1, margin=1.1),
        known=replace(known, own_covariance=0.1 * torch.eye(22) + 0.9),
        positions=8,
        quantiles=256,
    )
    learned = learner.learn(volumes)
    assert learned.prior.tissues == tuple(TISSUES)
    torch.testing.assert_close(learned.reference.intensities, histograms(*volumes).intensities)
    torch.testing.assert_close(learned.prior.expected.coefficients[:, 0].exp(), LEVELS, atol=0.03, rtol=0)
    image, mask = labelled(11).image, labelled(11).mask
    scan = estimate(image, mask, by_intensity, learned.prior)
    assert learned.prior.raw.distance(scan.evidence) <= 1
    assert learned.prior.own_covariance.mean() > 0.3 * learned.prior.own_covariance.diagonal().median()  # as is known
