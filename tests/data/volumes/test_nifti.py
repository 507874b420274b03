"""A damaged file is one clear error, never other voxels."""

from __future__ import annotations

import gzip
import resource
from pathlib import Path

import nibabel
import numpy as np
import pytest
from damage import DAMAGED, RNG, noise
from phantoms import AFFINE, phantom, save

from harmony.core import ConfigError, DataError
from harmony.data import read_labels, read_nifti, write_nifti


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_one_clear_error(kind, tmp_path):
    path = tmp_path / ("scan.nii.gz" if DAMAGED[kind][:2] == b"\x1f\x8b" else "scan.nii")
    path.write_bytes(DAMAGED[kind])
    with pytest.raises(DataError) as error:
        read_nifti(path, subject="sub-77")
    assert error.value.subject == "sub-77"
    assert error.value.path == path
    assert error.value.cure


def bomb(path: Path, voxels: tuple[int, int, int]) -> Path:
    """A small file that says truly that it holds as many zeros."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(voxels)
    header["vox_offset"], header["magic"], header["sform_code"] = 352, b"n+1", 1
    header.set_sform(AFFINE)
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(header.binaryblock + bytes(4) + bytes(range(256)))
        for _ in range(np.prod(voxels) // 2**20):
            file.write(bytes(2**20))
        file.write(bytes(int(np.prod(voxels)) % 2**20 - 256))
    return path


def test_more_voxels_than_a_head_has_are_refused_before_they_are_read_unless_a_setting_says_so(tmp_path, monkeypatch):
    path = bomb(tmp_path / "scan.nii.gz", (101, 100, 100))
    assert read_nifti(path, subject="s").data.shape == (101, 100, 100)
    monkeypatch.setenv("HARMONY_MAX_VOXELS", "1000000")
    with pytest.raises(DataError, match=r"1010000 voxels.*HARMONY_MAX_VOXELS"):
        read_nifti(path, subject="s")
    monkeypatch.setenv("HARMONY_MAX_VOXELS", "1010000")
    read_nifti(path, subject="s")
    monkeypatch.setenv("HARMONY_MAX_VOXELS", "many")
    with pytest.raises(ConfigError, match="HARMONY_MAX_VOXELS=many"):
        read_nifti(path, subject="s")


def test_a_voxel_offset_beyond_all_measure_is_refused(tmp_path):
    raw = bytearray(nibabel.Nifti1Image(noise(), AFFINE).to_bytes())
    raw[108:112] = np.float32(1e15).tobytes()
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    with pytest.raises(DataError, match="header asks for"):
        read_nifti(tmp_path / "scan.nii.gz", subject="s")


def test_a_bomb_is_one_clear_error_under_a_memory_limit(tmp_path, monkeypatch):
    """As it is, and behind an honest small image; half a gigabyte more than the process has is not enough for it."""
    path = bomb(tmp_path / "scan.nii.gz", (700, 700, 700))
    behind = tmp_path / "behind.nii.gz"
    with gzip.open(behind, "wb") as file:
        file.write(nibabel.Nifti1Image(noise(), AFFINE).to_bytes())
        for _ in range(300):
            file.write(bytes(2**20))
    former = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**29, former[1]))
    try:
        for limit, words in (("300000000", "343000000 voxels"), ("400000000", "not enough memory")):
            monkeypatch.setenv("HARMONY_MAX_VOXELS", limit)
            with pytest.raises(DataError, match=words):
                read_nifti(path, subject="s")
        with pytest.raises(DataError, match="behind the last voxel"):
            read_nifti(behind, subject="s")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, former)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    for path in (tmp_path / "none.nii.gz", tmp_path):
        with pytest.raises(DataError, match="no such file"):
            read_nifti(path, subject="sub-77")


def test_flipped_bytes_never_give_other_voxels(tmp_path):
    """Twice the traps' finding: nibabel returns altered voxels for many of these files."""
    path = tmp_path / "scan.nii.gz"
    image = nibabel.Nifti1Image(RNG.integers(0, 40, (12, 12, 12)).astype(np.uint8), AFFINE)
    nibabel.save(image, path)
    raw, truth = path.read_bytes(), read_nifti(path, subject="s")
    refused = 0
    for _ in range(300):
        damaged = bytearray(raw)
        for at in RNG.integers(0, len(raw), RNG.integers(1, 3)):
            damaged[at] ^= 1 << RNG.integers(0, 8)
        path.write_bytes(bytes(damaged))
        try:
            read = read_nifti(path, subject="s")
        except DataError:
            refused += 1
        else:
            assert np.array_equal(read.data, truth.data)
            assert np.array_equal(read.affine, truth.affine)
    assert refused > 200


def test_a_singleton_fourth_axis_is_dropped_and_a_misnamed_gzip_is_read(tmp_path):
    data = noise()
    nibabel.save(nibabel.Nifti1Image(data[..., None], AFFINE), tmp_path / "a.nii")
    (tmp_path / "b.nii").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    for name in ("a.nii", "b.nii"):
        assert np.array_equal(read_nifti(tmp_path / name, subject="s").data, data)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_written_and_read_back_exactly_with_the_header(kind, tmp_path):
    image = kind(RNG.integers(0, 255, (8, 9, 7)).astype(np.uint8), AFFINE)
    image.header.set_slope_inter(3.7, -1.5)
    image.set_sform(AFFINE, code=4)
    image.set_qform(AFFINE, code=1)
    for name in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
        if name in image.header:
            image.header[name] = b"J. Doe"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Jane Doe, 1.1.1970"))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "in.nii.gz")
    native = read_nifti(tmp_path / "in.nii.gz", subject="s")
    write_nifti(tmp_path / "out" / "scan.nii.gz", native.data, native)
    out = nibabel.load(tmp_path / "out" / "scan.nii.gz")
    assert type(out) is kind
    assert out.get_data_dtype() == np.float32
    assert np.array_equal(np.asarray(out.dataobj), native.data)
    assert (out.dataobj.slope, out.dataobj.inter) == (1, 0)
    assert np.array_equal(out.affine, native.affine)
    assert (int(out.header["sform_code"]), int(out.header["qform_code"])) == (4, 1)
    assert not out.header.extensions
    assert b"Doe" not in gzip.decompress((tmp_path / "out" / "scan.nii.gz").read_bytes())
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["scan.nii.gz"]


def test_writing_on_another_grid_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(noise(), AFFINE), tmp_path / "in.nii")
    native = read_nifti(tmp_path / "in.nii", subject="s")
    with pytest.raises(ValueError, match="grid"):
        write_nifti(tmp_path / "out.nii", native.data[1:], native)


def test_labels_must_lie_on_the_image_and_be_whole(tmp_path):
    data, labels = phantom()
    native = read_nifti(save(tmp_path / "image.nii.gz", data), subject="s")
    read = read_labels(save(tmp_path / "ok.nii.gz", labels, dtype=np.uint8), native, "s")
    assert read.dtype == np.int16
    assert np.array_equal(read, labels)
    nearly = AFFINE + np.diag([1e-5, 0, 0, 0])
    assert np.array_equal(read_labels(save(tmp_path / "nearly.nii.gz", labels, nearly), native, "s"), labels)
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.5
    for bad in (save(tmp_path / "shape.nii.gz", labels[1:]), save(tmp_path / "moved.nii.gz", labels, shifted)):
        with pytest.raises(DataError, match="labels on another grid"):
            read_labels(bad, native, "s")
    with pytest.raises(DataError, match="whole numbers"):
        read_labels(save(tmp_path / "half.nii.gz", labels * 0.3), native, "s")


@pytest.mark.real
def test_a_real_scan_with_a_slope_reads_as_nibabel_reads_it(real_data):
    path: Path = next((real_data / "ixi-hh").glob("sub-*/anat/*_T1w.nii.gz"))
    assert np.array_equal(read_nifti(path, subject="s").data, nibabel.load(path).get_fdata().astype(np.float32))
