"""What cannot be a person's brain is refused, by training, check and harmonize alike; infants and giants pass."""

from __future__ import annotations

import re

import numpy as np
import pytest
from phantoms import save

from harmony.core import ConfigError, DataError, Scan
from harmony.data import Preprocess, SliceDataModule, brain_mask, read_nifti
from harmony.data.inspection import inspect
from harmony.data.volumes.plausible import implausible, skull_stripped

RNG = np.random.default_rng(3)


def ellipsoid(semi_mm, voxel=4.0, *, grey=(50, 200)) -> np.ndarray:
    shape = [2 * int(np.ceil(side / voxel)) + 5 for side in semi_mm]
    place = [(np.arange(n) - n // 2) * voxel / side for n, side in zip(shape, semi_mm, strict=True)]
    radius = sum(np.square(axis) for axis in np.meshgrid(*place, indexing="ij"))
    return np.where(radius < 1, RNG.integers(*grey, shape), 0).astype(np.float32)


ADULT = ellipsoid((68, 85, 65))
ODD = {
    "one voxel": (np.where(np.arange(ADULT.size).reshape(ADULT.shape) == ADULT.size // 2, 9.0, 0), 4.0, "a brain of"),
    "two values": (np.where(ADULT > 0, 1.0, 0), 4.0, "no contrast"),
    "a few values": (np.ceil(ADULT / 70), 4.0, "no contrast"),
    "nearly flat": (np.where(ADULT > 0, 1000 + ADULT / 20, 0), 4.0, "no contrast"),
    "one slice": (ADULT * (np.arange(ADULT.shape[2]) == ADULT.shape[2] // 2), 4.0, "a brain of"),
    "a slab": (ADULT * (abs(np.arange(ADULT.shape[2]) - ADULT.shape[2] // 2) <= 3), 4.0, "x 28 mm (30 to 250)"),
    "tenths of millimetres": (ADULT, 0.1, "voxels of 0.1"),
    "centimetres": (ADULT, 40.0, "voxels of 40"),
    "a mouse": (ADULT, 0.4, "a brain of 1.5"),
    "a whole head": (ellipsoid((90, 115, 120)), 4.0, "skull"),
}


def scan_of(data, voxel, path) -> Scan:
    return Scan(save(path / "sub-1_T1w.nii.gz", data, np.diag([voxel, voxel, voxel, 1])), "sub-1", age=3.0)


def prepare(**more) -> Preprocess:
    return Preprocess(spacing=4.0, axis="axial", size=(64, 64), percentile=99.5, **more)


@pytest.mark.parametrize("kind", ODD)
def test_what_no_person_has_is_an_error_that_a_setting_overrides(kind, tmp_path):
    data, voxel, words = ODD[kind]
    scan = scan_of(data, voxel, tmp_path)
    with pytest.raises(DataError, match=re.escape(words)) as error:
        prepare()(scan)
    assert "only_plausible=false" in error.value.cure
    native = read_nifti(scan.path, subject="s")
    assert words in implausible(native, brain_mask(scan, native))
    settings = {"shares": {"train": 1.0}, "split_seed": 0, "count": 1, "step": 1, "batch_size": 1, "seed": 0}
    (found,) = inspect(SliceDataModule(_One(scan), prepare(), tmp_path, **settings)).problems
    assert found.error
    assert words in found.problem
    if voxel == 4.0 and kind != "one voxel":
        prepare(only_plausible=False)(scan)
        (found,) = inspect(SliceDataModule(_One(scan), prepare(only_plausible=False), tmp_path, **settings)).problems
        assert (found.error, words in found.problem) == (False, True)


class _One:
    def __init__(self, scan):
        self.scan = scan

    def scans(self):
        return [self.scan]


@pytest.mark.parametrize(
    ("semi", "voxel"),
    [((32, 38, 31), 0.5), ((32, 38, 31), 2.0), ((60, 75, 55), 1.0), ((75, 95, 70), 2.0), ((68, 85, 65), 8.0)],
)
def test_preterm_infants_and_the_largest_adults_pass(semi, voxel, tmp_path):
    scan = scan_of(ellipsoid(semi, voxel), voxel, tmp_path)
    native = read_nifti(scan.path, subject="s")
    assert implausible(native, brain_mask(scan, native)) is None


def test_a_head_with_a_mask_is_no_stripped_brain(tmp_path):
    scan = scan_of(ADULT, 4.0, tmp_path)
    native = read_nifti(scan.path, subject="s")
    whole = brain_mask(scan, native)
    assert skull_stripped(native, whole) is True
    inner = np.zeros_like(whole)
    inner[10:-10, 10:-10, 10:-10] = True
    assert skull_stripped(native, whole & inner) is False


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing": -2}, {"spacing": 0}, {"spacing": float("nan")}, {"spacing": 1e-4}, {"size": (0, 64)},
        {"size": (64, -1)}, {"percentile": 0}, {"percentile": 101},
    ],
)  # fmt: skip
def test_a_grid_that_cannot_be_is_refused_at_once(wrong):
    settings = {"spacing": 4.0, "axis": "axial", "size": (64, 64), "percentile": 99.5}
    with pytest.raises(ConfigError, match=rf"data.preprocess.{next(iter(wrong))}="):
        Preprocess(**settings | wrong)
