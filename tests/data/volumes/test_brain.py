"""Where the brain is and what its intensities count from, whatever unit, offset, pieces or ripples a file has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from damage import good
from phantoms import SHAPE, phantom, preprocess, save
from scipy import ndimage

from harmony.core import DataError, Scan
from harmony.data import Preprocess, VolumeCache, brain_mask, read_nifti
from harmony.data.volumes.brain import brain_of
from harmony.data.volumes.foreground import background_level, zero_level

DATA = phantom()[0]
INSIDE = DATA > 0
# A brain whose darkest voxels are near 0, as a person's are: 1 to 140.
DARK = np.where(INSIDE, DATA - DATA[INSIDE].min() + 1, 0)
MEAN, SPREAD = DARK[INSIDE].mean(), DARK[INSIDE].std()
LARGEST = DARK.max()


def scan(folder: Path, data: np.ndarray, *, mask: np.ndarray | None = None, name: str = "i") -> Scan:
    inside = None if mask is None else save(folder / f"{name}_mask.nii.gz", mask, dtype=np.uint8)
    return Scan(save(folder / f"{name}.nii.gz", data), "sub-77", mask=inside)


# C1: y = a x + b inside the brain, and what is outside of it: (a, b, outside).
UNITS: dict[str, tuple[float, float, float]] = {
    "z-score": (1 / SPREAD, -MEAN / SPREAD, 0),
    "z-score, outside too": (1 / SPREAD, -MEAN / SPREAD, -MEAN / SPREAD),
    "from -1 to 1": (2 / LARGEST, -1, -1),
    "from -1 to 1, 0 outside": (2 / LARGEST, -1, 0),
    "less than its mean": (1, -MEAN, 0),
    "a fifth below 0": (1, -np.percentile(DARK[INSIDE], 20), 0),
    "rescaled": (1e-4, 0, 0),
    "rescaled and below 0 everywhere": (3, -1e4, -1e4),
}
MASKED = UNITS | {
    "offset": (1, 300, 300),
    "offset and rescaled": (0.01, 40, 40),
    "all below 0, 0 outside": (1, -LARGEST - 1, 0),
}


def in_unit(unit: tuple[float, float, float]) -> np.ndarray:
    gain, offset, outside = unit
    return np.where(INSIDE, gain * DARK + offset, outside).astype(np.float32)


@pytest.mark.parametrize(("unit", "masked"), [*((u, False) for u in UNITS), *((u, True) for u in MASKED)])
def test_a_scan_in_another_unit_is_the_same_volume_and_the_same_change(unit, masked, tmp_path):
    prepare, gain = preprocess(), MASKED[unit][0]
    own = scan(tmp_path, DARK, mask=INSIDE, name="own")
    other = scan(tmp_path, in_unit(MASKED[unit]), mask=INSIDE if masked else None)
    expected, volume = prepare(own), prepare(other)
    differ = volume.mask ^ expected.mask  # at the rim a voxel may have the background's value
    assert differ.sum() <= (0 if masked else 1e-3 * INSIDE.sum())
    # The darkest of few voxels is not quite at 0.
    assert torch.where(differ, 0, volume.image - expected.image).abs().max() < 0.03
    assert volume.scale == pytest.approx(gain * expected.scale, rel=0.03)
    native = read_nifti(other.path, subject="s")
    assert np.array_equal(prepare.restore(volume, volume.image, native), native.data)
    out = prepare.restore(volume, 0.8 * volume.image, native, torch.full_like(volume.image, 0.8))
    truth = prepare.restore(expected, 0.8 * expected.image, read_nifti(own.path, subject="s"))
    assert np.array_equal(out[~INSIDE], native.data[~INSIDE])
    brain = brain_mask(other, native)
    lifted = (out - MASKED[unit][1]) / gain
    assert np.abs(lifted - truth)[brain].max() < 0.03 * LARGEST
    relative = prepare.relative(volume, out, native)
    assert np.abs(relative - prepare.relative(expected, truth, read_nifti(own.path, subject="s")))[brain].max() < 0.03
    assert not relative[~INSIDE].any()


def test_what_was_decided_is_said(tmp_path):
    own, other = scan(tmp_path, DARK, name="own"), scan(tmp_path, in_unit(UNITS["z-score"]))
    assert preprocess()(own).remarks == ()
    assert preprocess()(own).zero == 0
    volume = preprocess()(other)
    assert f"count from {volume.zero:g}" in volume.remarks[0]
    cached = VolumeCache(tmp_path / "cache", preprocess())
    assert [(v.zero, v.remarks) for v in (cached.get(other), cached.get(other))] == 2 * [(volume.zero, volume.remarks)]


def test_without_a_background_nobody_can_tell_and_a_mask_says_it(tmp_path):
    """A whole head as a z-score; air is noise around its darkest value."""
    random = np.random.default_rng(0)
    head = np.where(INSIDE, DARK, random.uniform(0, 5, SHAPE))
    z = (head - head.mean()) / head.std()
    with pytest.raises(DataError, match=r"nobody can tell what is brain -> give a brain mask"):
        preprocess()(scan(tmp_path, z))
    expected = preprocess()(scan(tmp_path, head, mask=INSIDE, name="own"))
    for k, copy in enumerate((z, head + 500)):
        volume = preprocess()(scan(tmp_path, copy, mask=INSIDE, name=str(k)))
        assert (volume.image - expected.image).abs().max() < 0.02


def test_an_inverted_contrast_is_no_shifted_one(tmp_path):
    with pytest.raises(DataError, match="brain is empty"):
        preprocess()(scan(tmp_path, -DARK))


def test_a_ramp_without_air_counts_from_zero():
    ramp = np.linspace(100, 200, 1000).reshape(10, 10, 10)
    assert background_level(ramp) is None
    assert zero_level(ramp, ramp > 150, None) == 0
    assert zero_level(ramp, ramp > 999, None) == 0


# C2

PIECES: dict[str, Callable[[np.ndarray], None]] = {
    "hemispheres": lambda data: data[15].fill(0),
    "a lost axial slice": lambda data: data[:, :, 9].fill(0),
    "a lost coronal slice": lambda data: data[:, 30].fill(0),
    "two planes": lambda data: (data[15].fill(0), data[:, 18].fill(0)),
    "a cerebellum apart": lambda data: (data[:, 10:12, :9].fill(0), data[:, :12, 9:11].fill(0)),
}


@pytest.mark.parametrize("kind", PIECES)
def test_all_pieces_of_a_brain_are_brain(kind, tmp_path):
    data = DATA.copy()
    PIECES[kind](data)
    assert ndimage.label(data)[1] > 1
    native = read_nifti(scan(tmp_path, data).path, subject="s")
    brain = brain_of(Scan(tmp_path / "i.nii.gz", "s"), native)
    assert np.array_equal(brain.mask, data > 0)
    assert brain.remarks == ()
    volume = preprocess()(Scan(tmp_path / "i.nii.gz", "s"))
    change = preprocess().restore(volume, 0.5 * volume.image, native) - native.data
    assert np.count_nonzero(change) > 0.99 * np.count_nonzero(data)


def test_specks_are_dropped_and_named_in_ml(tmp_path):
    fine = np.kron(DATA, np.ones((2, 2, 2)))
    specks = fine.copy()
    specks[1:5, 1:5, 1:5], specks[1:5, 60:64, 1:5] = 80, 80
    path = save(tmp_path / "i.nii.gz", specks)
    brain = brain_of(Scan(path, "s"), read_nifti(path, subject="s"))
    assert np.array_equal(brain.mask, fine > 0)
    assert brain.remarks[0].startswith(f"{2 * 64 * 0.008:.1f} ml above 0 not taken for brain")


# C6

RESAMPLED: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "a shift": lambda data, order: ndimage.shift(data, (0.3, 0.4, 0.2), order=order),
    "finer": lambda data, order: ndimage.zoom(data, 1.6, order=order),
    "coarser": lambda data, order: ndimage.zoom(data, 0.8, order=order),
    "turned": lambda data, order: ndimage.rotate(data, 12, reshape=False, order=order),
}


@pytest.mark.parametrize("whole", [False, True], ids=["float", "whole numbers"])
@pytest.mark.parametrize("kind", RESAMPLED)
def test_ripples_around_a_resampled_brain_are_no_brain(kind, whole, tmp_path):
    padded = np.pad(DATA, 8)
    data = RESAMPLED[kind](4 * padded, 3)
    expected = RESAMPLED[kind]((padded > 0).astype(np.float32), 1) > 0.5
    path = save(tmp_path / "i.nii.gz", np.rint(data) if whole else data)
    native = read_nifti(path, subject="s")
    assert np.count_nonzero(native.data < 0) > 0.05 * expected.sum()
    brain = brain_of(Scan(path, "s"), native)
    assert not (
        brain.mask & ~ndimage.binary_dilation(expected, np.ones((3, 3, 3)))
    ).any()  # at most the partial volume of the edge
    assert brain.mask.sum() == pytest.approx(expected.sum(), rel=0.12)
    assert np.count_nonzero(brain.mask & expected) > 0.99 * expected.sum()
    assert brain.zero == 0
    assert "ripples" in brain.remarks[0]
    assert brain_of(Scan(path, "s", mask=save(tmp_path / "m.nii.gz", brain.mask, dtype=np.uint8)), native).zero == 0
    generous = save(tmp_path / "g.nii.gz", ndimage.binary_dilation(brain.mask, iterations=4), dtype=np.uint8)
    assert brain_of(Scan(path, "s", mask=generous), native).zero == 0  # ripples below 0 are in this mask


# C14


def test_a_brain_larger_than_the_models_grid_gets_larger_slices(tmp_path):
    path = save(tmp_path / "i.nii.gz", DATA)
    with pytest.raises(DataError, match=r"train with data.preprocess.size=\[16,32\]|\[32,32\]"):
        preprocess(size=(16, 32))(Scan(path, "s"))
    grown, whole = preprocess(size=(16, 16), grows=True)(Scan(path, "s")), preprocess()(Scan(path, "s"))
    assert torch.equal(grown.image, whole.image)
    assert np.array_equal(grown.affine, whole.affine)
    assert preprocess(size=(40, 48), grows=True)(Scan(path, "s")).image.shape[1:] == (40, 48)


def test_a_brain_that_does_not_fit_as_its_axes_are_guessed_is_told_so(tmp_path):
    image = nibabel.Nifti1Image(DATA.astype(np.float32), None)
    image.header.set_zooms((2, 2, 2))
    nibabel.save(image, tmp_path / "i.nii.gz")
    for grows in (False, True):
        with pytest.raises(DataError, match=r"states no orientation.*-> write the orientation into the header"):
            preprocess(size=(16, 32), grows=grows)(Scan(tmp_path / "i.nii.gz", "s"))


# C15, C17


def test_nan_around_the_brain_is_outside(tmp_path):
    path = save(tmp_path / "i.nii.gz", np.where(INSIDE, DATA, np.nan))
    native = read_nifti(path, subject="s")
    volume, expected = preprocess()(Scan(path, "s")), preprocess()(scan(tmp_path, DATA, name="own"))
    assert torch.equal(volume.image, expected.image)
    assert np.array_equal(preprocess().restore(volume, volume.image, native), DATA.astype(np.float32))
    assert f"{(~INSIDE).sum()} voxels outside the brain are NaN" in volume.remarks[0]
    half = np.where(INSIDE | (np.arange(SHAPE[0]) < 9)[:, None, None], DATA, np.nan)
    assert torch.equal(preprocess()(scan(tmp_path, half, name="half")).image, expected.image)
    below = np.where(INSIDE, DARK - 500, np.where(np.arange(SHAPE[0])[:, None, None] < 2, np.nan, -500))
    assert torch.equal(preprocess()(scan(tmp_path, below, name="below")).mask, expected.mask)


def test_nan_inside_the_brain_is_refused(tmp_path):
    hole = np.where(INSIDE, DATA, 0)
    hole[15, 18, 14] = np.nan
    with pytest.raises(DataError, match="1 voxels amid others are NaN"):
        preprocess()(scan(tmp_path, hole))
    with pytest.raises(DataError, match=r"\d+ voxels inside the brain are NaN"):
        preprocess()(scan(tmp_path, np.where(INSIDE, DATA, np.nan), mask=ndimage.binary_dilation(INSIDE), name="wide"))
    path = save(tmp_path / "m.nii.gz", np.where(INSIDE, 1, np.nan))
    with pytest.raises(DataError, match=r"\d+ labels are NaN"):
        brain_mask(Scan(path, "s", mask=path), read_nifti(path, subject="s"))


@pytest.mark.parametrize("more", [b"x", bytes(16), bytes(200)])
@pytest.mark.parametrize("name", ["i.nii", "i.nii.gz"])
def test_bytes_behind_the_last_voxel_are_not_read(more, name, tmp_path, caplog):
    import gzip

    raw = good()
    (tmp_path / name).write_bytes(gzip.compress(raw + more) if name.endswith("gz") else raw + more)
    (tmp_path / "own.nii").write_bytes(raw)
    own, other = (read_nifti(tmp_path / each, subject="s").data for each in ("own.nii", name))
    assert np.array_equal(own, other)
    assert f"{len(more)} bytes behind the last voxel" in caplog.text
    (tmp_path / name).write_bytes(raw + bytes(4 * 7 * 8))
    with pytest.raises(DataError, match=r"shape or type is damaged"):
        read_nifti(tmp_path / name, subject="s")


@pytest.mark.parametrize("raw", [bytes(128) + b"DICM" + bytes(400), b"\x08\x00\x05\x00\x0a\x00\x00\x00" + bytes(400)])
def test_a_dicom_file_is_told_of_dcm2niix(raw, tmp_path):
    (tmp_path / "IM0001.dcm").write_bytes(raw)
    with pytest.raises(DataError, match=r"a DICOM file.*dcm2niix"):
        read_nifti(tmp_path / "IM0001.dcm", subject="s")


@pytest.mark.real
@pytest.mark.parametrize("folder", ["ixi-hh", "open-ms"])
def test_real_scans_count_from_zero_and_have_nothing_to_be_said(folder, real_data):
    path = sorted((real_data / folder).glob("sub-*/anat/*_T1w.nii.gz"))[1]
    volume = Preprocess(spacing=2.0, axis="axial", size=(96, 112), percentile=99.5)(Scan(path, "s"))
    assert (volume.zero, volume.remarks) == (0, ())
