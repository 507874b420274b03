"""What leaves the program is what was asked for: each way to break that is found before anything is written."""

from dataclasses import replace

import numpy as np
import pytest
from phantoms import phantom, preprocess, save

from harmony.core import DataError
from harmony.data import brain_mask, read_nifti, single_scan
from harmony.delivery.promise import Promise, Unit

DATA, _ = phantom()


@pytest.fixture
def kept(tmp_path):
    """A promise about a scan that is harmonized to half of itself, and what keeps it: result, slices."""
    around = np.where(DATA > 0, DATA, 3 + np.indices(DATA.shape)[0] % 2)  # a mask says what is brain
    path = save(tmp_path / "sub-01_T1w.nii.gz", around)
    mask = save(tmp_path / "mask.nii.gz", DATA > 0)
    scan = single_scan(path, mask)
    native, volume = read_nifti(path, subject="sub-01"), preprocess()(scan)
    slices = 0.5 * volume.image
    brain = brain_mask(scan, native)
    promise = Promise(native, native.data, brain, volume, Unit(0.0, volume.scale))
    return promise, np.where(brain, 0.5 * native.data, native.data), slices.numpy()


def test_what_was_asked_for_passes_and_all_of_the_brain_is_counted(kept):
    promise, data, slices = kept
    reach = promise.check(data, slices)
    assert reach.harmonized_ml == pytest.approx(8 * np.count_nonzero(DATA) / 1000)
    assert reach.missed_ml == 0
    assert reach.remarks() == []


def without(brain):
    """One voxel of what is not brain."""
    return tuple(np.argwhere(~brain)[5])


def outside(promise, data):
    changed = data.copy()
    changed[without(promise.brain)] += 1
    return changed


def nan(promise, data):
    changed = data.copy()
    changed[tuple(np.argwhere(promise.brain)[7])] = np.nan
    return changed


BROKEN = {
    "outside": (outside, "1 voxels outside of the brain were changed"),
    "no number": (nan, "1 voxels of the result are no numbers"),
    "infinite outside": (lambda p, d: np.where(p.brain, d, np.inf), "are no numbers"),
    "another grid": (lambda p, d: d[:, :, 1:], r"the result is \(30, 36, 27\), the scan \(30, 36, 28\)"),
    "turned": (lambda p, d: d.transpose(1, 0, 2), "the result is"),
    "another unit": (lambda p, d: np.where(p.brain, d / 200, d), "of its unit, and should be"),
    "a unit for all": (lambda p, d: d / 200, "outside of the brain were changed"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_every_other_result_is_refused(kind, kept):
    promise, data, slices = kept
    change, words = BROKEN[kind]
    with pytest.raises(DataError, match=words) as error:
        promise.check(change(promise, data), slices)
    assert error.value.subject == "sub-01"
    assert "report it" in error.value.cure


def test_brain_beyond_the_models_slices_is_named_in_ml(kept):
    """As if the model had seen the lower half only."""
    promise, data, slices = kept
    half = promise.volume.mask.clone()
    half[len(half) // 2 :] = False
    reach = replace(promise, volume=replace(promise.volume, mask=half)).reach()
    whole = 8 * np.count_nonzero(DATA) / 1000
    assert reach.harmonized_ml + reach.missed_ml == pytest.approx(whole)
    assert 0.3 * whole < reach.missed_ml < 0.7 * whole
    assert reach.sidecar()["NotHarmonizedVolume"] == round(reach.missed_ml, 1)
    (remark,) = reach.remarks()
    assert remark.startswith(f"{reach.missed_ml:.1f} of {whole:.0f} ml")
    nothing = replace(promise, volume=replace(promise.volume, mask=half & False))
    with pytest.raises(DataError, match="nothing of the brain mask"):
        nothing.check(data, slices)
