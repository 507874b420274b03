"""Subjects out of nothing: the same for everyone, different from each other, older with age."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scipy.stats import pearsonr

from harmony.core import DataError
from harmony.data import Atlas, Preprocess

RESOLUTION = 4


def voxels(path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("atlas")


@pytest.fixture(scope="module")
def scans(folder):
    return Atlas(folder, subjects=10, seed=3, resolution=RESOLUTION).scans()


def test_a_subject_does_not_depend_on_how_many_there_are(scans, tmp_path):
    few = Atlas(tmp_path, subjects=2, seed=3, resolution=RESOLUTION).scans()
    assert [scan.subject for scan in few] == [scan.subject for scan in scans[:2]]
    for a, b in zip(few, scans, strict=False):
        assert (a.age, a.sex, a.site) == (b.age, b.sex, b.site)
        assert np.array_equal(voxels(a.path), voxels(b.path))
        assert np.array_equal(voxels(a.labels), voxels(b.labels))


def test_another_seed_gives_other_people(scans, tmp_path):
    other = Atlas(tmp_path, subjects=1, seed=0, resolution=RESOLUTION).scans()[0]
    assert not np.array_equal(voxels(other.path), voxels(scans[0].path))
    assert other.age != scans[0].age


def test_a_second_call_reuses_and_a_broken_off_one_is_finished(scans, folder):
    times = [scan.path.stat().st_mtime_ns for scan in scans]
    before = voxels(scans[4].path)
    scans[4].path.unlink()
    assert len(Atlas(folder, subjects=5, seed=3, resolution=RESOLUTION).scans()) == 5
    assert np.array_equal(voxels(scans[4].path), before)
    again = Atlas(folder, subjects=10, seed=3, resolution=RESOLUTION).scans()
    assert again == scans
    assert [s.path.stat().st_mtime_ns for k, s in enumerate(again) if k != 4] == [
        t for k, t in enumerate(times) if k != 4
    ]


def test_age_shows_in_the_fluid(scans):
    assert all(20 <= scan.age <= 85 for scan in scans)
    assert {scan.sex for scan in scans} == {"F", "M"}
    share = [np.mean(voxels(s.labels)[voxels(s.labels) > 0] == 1) for s in scans]
    grey = [np.mean(voxels(s.labels)[voxels(s.labels) > 0] == 2) for s in scans]
    ages = [scan.age for scan in scans]
    assert pearsonr(ages, share).statistic > 0.6
    assert pearsonr(ages, grey).statistic < 0


def test_people_are_plausible_and_not_alike(scans):
    volumes = [voxels(scan.path).astype(float) for scan in scans]
    for scan, image in zip(scans, volumes, strict=True):
        labels = voxels(scan.labels)
        assert np.array_equal(labels > 0, image > 0)
        csf, grey, white = (image[labels == k].mean() for k in (1, 2, 3))
        assert csf < 0.75 * grey < 0.75 * 0.85 * white
        litres = (labels > 0).sum() * RESOLUTION**3 / 1e6
        assert 1.0 < litres < 2.0
    correlation = np.corrcoef([v.ravel() for v in volumes])[np.triu_indices(len(volumes), 1)]
    assert correlation.max() < 0.98
    assert correlation.min() > 0.6


def test_atlas_subjects_go_through_the_same_pipeline(scans):
    volume = Preprocess(spacing=4.0, axis="axial", size=(48, 48), percentile=99.5)(scans[0])
    assert set(volume.labels.unique().tolist()) == {0, 1, 2, 3}
    assert torch_share(volume) > 0.99


def torch_share(volume) -> float:
    """How much of the brain carries a label."""
    return float((volume.labels[volume.mask] > 0).float().mean())


def test_no_subjects_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"data.subjects="):
        Atlas(tmp_path, subjects=0, seed=0, resolution=RESOLUTION).scans()
