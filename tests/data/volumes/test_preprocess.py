"""A volume that knows where it is, and the file again (every kind of file: test_corpus.py)."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from phantoms import AFFINE, SHAPE, phantom, preprocess, save, scan_of, world

from harmony.core import DataError, Scan
from harmony.data import BidsFolder, Preprocess, brain_mask, read_nifti
from harmony.data.volumes.grid import low_passed


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("spacing", [2.0, 1.7])
def test_the_affine_says_where_each_voxel_is(axis, spacing, tmp_path):
    """An image that is linear in space can be predicted at every voxel of any grid."""
    x, y, z = np.moveaxis(world(), -1, 0)
    ramp = 200 + 1.0 * x + 0.7 * y + 0.3 * z
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:-4, 5:-3, 6:-7] = 1
    scan = Scan(
        path=save(tmp_path / "i.nii.gz", ramp, axes="LPS"),
        subject="s",
        mask=save(tmp_path / "m.nii.gz", mask, axes="LPS", dtype=np.uint8),
    )
    volume = preprocess(axis=axis, spacing=spacing, size=(48, 48), percentile=100.0)(scan)
    index = volume.mask.nonzero().numpy()
    mm = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    expected = 200 + mm @ [1.0, 0.7, 0.3]
    assert np.allclose(volume.image[volume.mask].numpy() * volume.scale, expected, atol=0.01)
    order = {"axial": [2, 0, 1], "coronal": [1, 0, 2], "sagittal": [0, 1, 2]}[axis]
    assert np.allclose(volume.affine[order, :3], spacing * np.eye(3))
    assert np.allclose(np.linalg.norm(volume.affine[:3, :3], axis=0), spacing)


def test_the_volume_is_the_brain_box_centred_and_scaled(tmp_path):
    volume = preprocess(percentile=90.0)(scan_of(tmp_path))
    data, labels = phantom()
    assert volume.image.shape[1:] == (32, 32)
    assert volume.mask[0].any()
    assert volume.mask[-1].any()
    assert volume.mask.sum() == (data > 0).sum()
    assert volume.scale == pytest.approx(np.percentile(data[data > 0], 90))
    assert (volume.image[volume.mask] == 1).float().mean() == pytest.approx(0.1, abs=0.02)
    assert volume.image[~volume.mask].abs().max() == 0
    assert torch.bincount(volume.labels.flatten().long()).tolist()[1:] == np.bincount(labels.ravel()).tolist()[1:]
    where = volume.mask.nonzero()
    low, high = where.amin(0)[1:], where.amax(0)[1:]
    assert ((low + high) - 31).abs().max() <= 1


def test_lesions_are_cut_like_the_labels_and_lie_in_the_brain(tmp_path):
    scan = scan_of(tmp_path)
    labels = phantom()[1]
    lesions = labels <= 1  # also everything outside the brain
    marked = replace(scan, lesions=save(tmp_path / "lesions.nii.gz", 7 * lesions, dtype=np.uint8))
    volume = preprocess()(marked)
    assert volume.lesions.dtype == torch.bool
    assert torch.equal(volume.lesions, volume.labels == 1)
    assert volume.lesions.any()
    assert preprocess()(scan).lesions is None
    save(tmp_path / "lesions.nii.gz", lesions[1:], dtype=np.uint8)
    with pytest.raises(DataError, match=r"sub-01.*lesions.*another grid"):
        preprocess()(marked)


def test_a_known_change_comes_back_at_the_right_place_and_scale(tmp_path):
    """Native LAS at 2 mm, model at 4 mm: a change linear in space is predicted at every native voxel of the brain."""
    data, _ = phantom()
    scan = Scan(path=save(tmp_path / "i.nii.gz", data, axes="LAS"), subject="s")
    prepare = preprocess(spacing=4.0, size=(16, 16))
    volume, native = prepare(scan), read_nifti(scan.path, subject="s")
    constant = prepare.restore(volume, volume.image + 0.1, native)
    brain = brain_mask(scan, native)
    assert np.array_equal(constant[~brain], native.data[~brain])
    assert np.allclose((constant - native.data)[brain], 0.1 * volume.scale, atol=1e-3)
    index = np.moveaxis(np.indices(volume.image.shape), 0, -1)
    mm = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    slope = torch.from_numpy(mm @ [0.002, 0.001, -0.0015]).float()
    changed = prepare.restore(volume, volume.image + slope, native)
    expected = (world(native.data.shape, native.affine) @ [0.002, 0.001, -0.0015]) * volume.scale
    core = (native.data > 0) & (np.linalg.norm(world(native.data.shape, native.affine) - [0, -4, 8], axis=-1) < 14)
    assert core.sum() > 500
    assert np.allclose((changed - native.data)[core], expected[core], atol=0.05)


def test_highlights_and_fine_detail_survive_a_change(tmp_path):
    data, _ = phantom()
    data[15, 18, 14] = 5000
    scan = Scan(path=save(tmp_path / "i.nii.gz", data), subject="s")
    prepare = preprocess()
    volume, native = prepare(scan), read_nifti(scan.path, subject="s")
    assert volume.image.max() == 1
    out = prepare.restore(volume, volume.image * 0.9, native)
    assert out[15, 18, 14] == pytest.approx(5000 - 0.1 * volume.scale, rel=1e-5)
    dark = prepare.restore(volume, torch.zeros_like(volume.image), native)
    assert dark.min() == 0


def test_a_smooth_gain_acts_on_the_files_own_voxels(tmp_path):
    data, _ = phantom()
    data[15, 18, 14] = 5000
    scan = Scan(path=save(tmp_path / "i.nii.gz", data), subject="s")
    prepare = preprocess()
    volume, native = prepare(scan), read_nifti(scan.path, subject="s")
    gain = torch.full_like(volume.image, 0.9)
    out = prepare.restore(volume, 0.9 * volume.image, native, gain)
    assert out[15, 18, 14] == pytest.approx(4500, rel=1e-4)  # the highlight too, which the model's grid does not hold
    brain = brain_mask(scan, native)
    assert np.array_equal(out[~brain], native.data[~brain])
    more = prepare.restore(volume, 0.9 * volume.image + 0.02 * volume.mask, native, gain)
    assert np.abs(more - out)[brain].max() == pytest.approx(0.02 * volume.scale, rel=1e-3)


def test_a_finer_file_is_low_passed_before_it_is_thinned_out():
    """A checkerboard of single voxels must become grey, not a checkerboard of another size."""
    board = (np.indices((24, 24, 24)).sum(0) % 2).astype(np.float32)
    inside = low_passed(board, np.full(3, 2.0))[8:-8, 8:-8, 8:-8]
    assert np.abs(inside - 0.5).max() < 0.02
    assert low_passed(board, np.full(3, 1.15)) is board


def test_the_low_pass_makes_a_voxel_as_wide_as_the_new_one():
    """FWHM^2 = new^2 - native^2 along each axis, here of 0.5, 1 and 2 mm; none where the grid does not get coarser."""
    point = np.zeros((61, 31, 15), np.float32)
    point[30, 15, 7] = 1
    smooth = low_passed(point, 2.0 / np.array([0.5, 1.0, 2.0]))
    centre = smooth[30, 15, 7].item()
    for place, native, steps in (((34, 15, 7), 0.5, 4), ((30, 17, 7), 1.0, 2)):
        sigma = np.sqrt(2.0**2 - native**2) / np.sqrt(8 * np.log(2))
        expected = np.exp(-((steps * native) ** 2) / (2 * sigma**2))
        assert smooth[place].item() / centre == pytest.approx(expected, rel=1e-3)
    assert smooth[30, 15, 6] == smooth[30, 15, 8] == 0


def test_a_negative_voxel_does_not_darken_its_neighbours(tmp_path):
    """On a grid of 3 mm, new voxels are means of old ones."""
    data, _ = phantom()
    full, volumes = save(tmp_path / "m.nii.gz", data > 0, dtype=np.uint8), []
    for level in (0, -5000):
        data[15, 18, 14] = level
        scan = Scan(path=save(tmp_path / f"{level}.nii.gz", data), subject="s", mask=full)
        volumes.append(preprocess(spacing=3.0, size=(24, 24))(scan))
    assert torch.equal(volumes[0].image, volumes[1].image)
    assert volumes[0].scale == volumes[1].scale


@pytest.mark.parametrize("size", [(32, 32), (33, 31), (40, 35)])
def test_the_brain_is_in_the_middle_of_the_slice(size, tmp_path):
    """As much room before it as behind it, or one pixel more before it."""
    where = preprocess(size=size)(scan_of(tmp_path)).mask.nonzero()
    low, high = where.amin(0)[1:], where.amax(0)[1:]
    assert set((low - (torch.tensor(size) - 1 - high)).tolist()) <= {0, 1}


def test_preprocessing_low_passes_when_it_shrinks(tmp_path):
    data, _ = phantom()
    board = np.where(data > 0, 100 + 100 * (np.indices(SHAPE).sum(0) % 2), 0)
    scan = Scan(path=save(tmp_path / "i.nii.gz", board), subject="s")
    volume = preprocess(spacing=6.0, size=(16, 16))(scan)
    core = volume.image[3:6, 7:9, 7:9] * volume.scale
    assert (core - 150).abs().max() < 5


def test_the_mask_is_one_piece_without_holes(tmp_path):
    data, _ = phantom()
    full = data > 0
    data[15, 18, 14] = -3  # a dark voxel inside
    data[1, 1, 1] = 50  # a speck outside
    scan = Scan(path=save(tmp_path / "i.nii.gz", data), subject="s")
    native = read_nifti(scan.path, subject="s")
    assert np.array_equal(brain_mask(scan, native), full)
    volume = preprocess()(scan)
    assert volume.image.min() == 0
    half = save(tmp_path / "m.nii.gz", full & (world()[..., 0] > 0), dtype=np.uint8)
    given = preprocess()(replace(scan, mask=half))
    assert given.mask.sum() == (full & (world()[..., 0] > 0)).sum()


def test_brains_that_cannot_be_used_are_named(tmp_path):
    scan = scan_of(tmp_path)
    with pytest.raises(DataError, match=r"size=\[32,32\]"):
        preprocess(size=(16, 32))(scan)
    nothing = save(tmp_path / "m.nii.gz", np.zeros(SHAPE, np.uint8), dtype=np.uint8)
    with pytest.raises(DataError, match="brain is empty"):
        preprocess()(replace(scan, mask=nothing))
    negative = save(tmp_path / "n.nii.gz", -phantom()[0])
    with pytest.raises(DataError, match="brain is empty"):
        preprocess()(Scan(path=negative, subject="s"))
    head = save(tmp_path / "h.nii.gz", phantom()[0] + 5)
    with pytest.raises(DataError, match="not skull-stripped"):
        preprocess()(Scan(path=head, subject="s"))
    with pytest.raises(ValueError, match="axis"):
        preprocess(axis="oblique")


def test_settings_name_every_constant():
    settings = preprocess().settings()
    assert settings["size"] == [32, 32]
    assert {"spacing", "axis", "percentile", "version"} <= set(settings)
    assert preprocess(percentile=99.0).settings() != settings


@pytest.mark.real
@pytest.mark.parametrize("folder", ["ixi-hh", "open-ms"])
def test_real_scans_come_back_exactly(folder, real_data):
    scan = BidsFolder(real_data / folder).scans()[1]
    prepare = Preprocess(spacing=2.0, axis="axial", size=(96, 112), percentile=99.5)
    volume, native = prepare(scan), read_nifti(scan.path, subject=scan.subject)
    assert np.array_equal(prepare.restore(volume, volume.image, native), native.data)
    brain = brain_mask(scan, native)
    change = native.data - prepare.restore(volume, volume.image - 0.01, native)
    assert np.mean(np.abs(change[brain] - 0.01 * volume.scale) < 1e-3 * volume.scale) > 0.97
    assert np.count_nonzero(change[~brain]) == 0
    litres = np.abs(np.linalg.det(volume.affine[:3, :3])) * float(volume.mask.sum()) / 1e6
    native_litres = np.abs(np.linalg.det(nibabel.load(scan.path).affine[:3, :3])) * brain.sum() / 1e6
    assert litres == pytest.approx(native_litres, rel=0.01)
    assert 0.9 < litres < 1.9


def test_the_affine_of_the_phantom_is_what_the_tests_think():
    assert nibabel.aff2axcodes(AFFINE) == ("R", "A", "S")


def test_the_blur_of_bringing_a_finer_scan_onto_the_grid_is_known(tmp_path):
    """One bright voxel becomes a spot, whose second moment (mean over its places) is the variance of the blur."""
    settings, moments = {"size": (48, 48), "percentile": 100.0, "only_plausible": False}, []
    for first in (30, 31, 32, 33):
        volume = preprocess(spacing=2.0, **settings)(_bright_voxel(tmp_path, first, 1.25))
        moments.append([_moment(volume, axis) for axis in range(3)])
    assert np.square(volume.resampled) == pytest.approx(np.mean(moments, axis=0), abs=0.03)
    assert volume.resampled[0] < volume.resampled[1]  # slices of 1.25 mm, the rest of 1
    assert volume.stack(volume.select(None, 1)).resampled == volume.resampled
    settings["size"] = (64, 64)
    assert preprocess(spacing=1.0, **settings)(_bright_voxel(tmp_path, 30, 1.0)).resampled == (0, 0, 0)


def _bright_voxel(folder, first, slices):
    data = np.zeros((64, 64, 64), np.float32)
    data[4:-4, 4:-4, 4:-4] = 1.0
    data[first, first, first] = 1e8
    path = folder / f"{first}-{slices}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, np.diag([1.0, 1.0, slices, 1.0])), path)
    return Scan(path, "s")


def _moment(volume, axis):
    along = volume.image.movedim(axis, 0).flatten(1).sum(1)
    along = torch.where(along > 1e-3 * along.max(), along, 0)
    place = torch.arange(len(along)) - (along * torch.arange(len(along))).sum() / along.sum()
    return float((along * place**2).sum() / along.sum())
