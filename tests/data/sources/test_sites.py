"""Simulated sites: the same anatomy, another scanner; each scan its own noise; made once."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scipy.stats import spearmanr

from harmony.core import ConfigError, DataError
from harmony.data import SimulatedSites

SCANNERS = {
    "R": {"tissue": 0.02, "noise": 0.015},
    "A": {"tissue": 0.12, "bias": 0.3, "blur": 8.0, "noise": 0.04},
}


def site(folder, *sites, subjects=3, **other):
    settings = {
        "scanners": SCANNERS,
        "variation": 0.15,
        "travelling": True,
        "seed": 2,
        "resolution": 4,
        "percentile": 99.5,
    } | other
    return SimulatedSites(folder, sites=sites or None, subjects=subjects, **settings)


def voxels(path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj).astype(float)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sites")


@pytest.fixture(scope="module")
def scans(folder):
    return site(folder).scans()


def test_travelling_subjects_are_the_same_people_on_another_scanner(scans):
    assert [scan.name for scan in scans] == [f"sub-{k:04d}_ses-{s}" for s in "RA" for k in range(3)]
    assert [scan.site for scan in scans] == ["R"] * 3 + ["A"] * 3
    for reference, query in zip(scans[:3], scans[3:], strict=True):
        assert (reference.subject, reference.age, reference.sex) == (query.subject, query.age, query.sex)
        labels = voxels(reference.labels)
        assert np.array_equal(labels, voxels(query.labels))
        images = voxels(reference.path), voxels(query.path)
        assert all(np.array_equal(image > 0, labels > 0) for image in images)
        assert np.corrcoef(*(image[labels > 0] for image in images))[0, 1] < 0.97


def test_a_site_is_not_one_curve_of_the_grey_level(scans):
    """After the best monotone map of the grey levels, ranks, much of the difference is still there."""
    reference, query = (voxels(scan.path) for scan in (scans[0], scans[3]))
    inside = reference > 0
    assert spearmanr(reference[inside], query[inside]).statistic < 0.97


def test_noise_is_each_scans_own_and_contrast_the_scanners(folder, scans):
    """What two sites' scans of one person have in common is the anatomy; gains come back in every scan of a site."""
    still = {"R": {"tissue": 0.0, "noise": 0.0}, "A": {"tissue": 0.3, "noise": 0.0}}
    made = site(folder / "still", scanners=still, variation=0.0).scans()
    ratios = []
    for reference, query in zip(made[:3], made[3:], strict=True):
        labels, a, b = voxels(reference.labels), voxels(reference.path), voxels(query.path)
        gains = np.array([np.median(b[labels == k] / a[labels == k]) for k in (1, 2, 3)])
        ratios.append(gains / gains[2])
    assert np.ptp([ratio[1] for ratio in ratios]) < 0.03
    assert abs(ratios[0][1] - 1) > 0.05

    noisy = site(folder / "noisy", "R", scanners={"R": {"noise": 0.05}}, variation=0.0).scans()
    quiet = site(folder / "noisy", "R", scanners={"R": {"noise": 0.0}}, variation=0.0).scans()
    residues = []
    for loud, clean in zip(noisy[:2], quiet[:2], strict=True):
        image, truth = voxels(loud.path), voxels(clean.path)
        inside = (voxels(noisy[0].path) > 0) & (voxels(noisy[1].path) > 0)
        slope = (image[inside] * truth[inside]).sum() / (truth[inside] ** 2).sum()
        residues.append(image[inside] - slope * truth[inside])
    assert abs(np.corrcoef(*residues)[0, 1]) < 0.3


def test_a_scan_does_not_depend_on_how_many_there_are(scans, tmp_path):
    alone = site(tmp_path, "A", subjects=1).scans()[0]
    assert np.array_equal(voxels(alone.path), voxels(scans[3].path))
    assert alone.age == scans[3].age


def test_another_seed_and_another_strength_give_another_scan(scans, tmp_path):
    other = site(tmp_path, "A", subjects=1, seed=3).scans()[0]
    assert not np.array_equal(voxels(other.path), voxels(scans[3].path))
    louder = {"A": SCANNERS["A"] | {"noise": 0.08}}
    found = site(tmp_path, "A", subjects=1, scanners=louder).scans()[0]
    assert not np.array_equal(voxels(found.path), voxels(scans[3].path))


def test_people_of_two_sites_are_other_people(tmp_path):
    scans = site(tmp_path, subjects=2, travelling=False).scans()
    assert len({scan.subject for scan in scans}) == len({scan.age for scan in scans}) == 4
    assert not np.array_equal(voxels(scans[0].labels), voxels(scans[2].labels))


@pytest.mark.parametrize("lost", ["path", "labels"])
def test_a_second_call_reuses_and_a_broken_off_one_is_finished(folder, scans, lost):
    times = [scan.path.stat().st_mtime_ns for scan in scans]
    before = voxels(scans[4].path)
    getattr(scans[4], lost).unlink()
    assert site(folder, "A", subjects=2).scans() == scans[3:5]
    assert np.array_equal(voxels(scans[4].path), before)
    again = site(folder).scans()
    assert again == scans
    changed = [k for k, scan in enumerate(again) if scan.path.stat().st_mtime_ns != times[k]]
    assert changed == [4]


def test_the_ventricles_widen_with_age(tmp_path):
    scans = site(tmp_path, "A", subjects=12, travelling=False).scans()
    share = [np.mean(voxels(s.labels)[voxels(s.labels) > 0] == 1) for s in scans]
    assert spearmanr([scan.age for scan in scans], share).statistic > 0.6


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"B: no such site.*R, A"):
        site(tmp_path, "B")
    with pytest.raises(DataError, match=r"data.subjects="):
        site(tmp_path, "A", subjects=0).scans()
