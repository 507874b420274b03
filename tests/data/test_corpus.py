"""Damaged and odd files, through every way in: one clear error each, or the same brain; never silently other voxels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from damage import DAMAGED
from phantoms import AFFINE, phantom, preprocess, save, scan_of

from harmony.core import DataError, Scan
from harmony.core.model_card import ModelCard
from harmony.data import BidsFolder, SliceDataModule, read_nifti
from harmony.data.inspection import Inspection, inspect
from harmony.delivery import Applied, Derivatives, Request, Worker
from harmony.methods import Unharmonized

SUBJECT = "sub-77"
DATA, LABELS = phantom()
BRAIN = (DATA > 0).astype(np.uint8)
MOVED = AFFINE + np.outer([1.0, 0, 0, 0], [0, 0, 0, 1.5])
WITH_MASK, WITH_LABELS = {"mask": "masks/{subject}.nii*"}, {"labels": "labels/{subject}.nii*"}


def image(root: Path, data: np.ndarray = DATA, *, ending: str = ".nii.gz") -> Path:
    return save(root / SUBJECT / "anat" / f"{SUBJECT}_T1w{ending}", data)


def mask(root: Path, data: np.ndarray = BRAIN, affine: np.ndarray = AFFINE) -> Path:
    return save(root / "masks" / f"{SUBJECT}.nii.gz", data, affine, dtype=np.float32)


def labels(root: Path, data: np.ndarray = LABELS, affine: np.ndarray = AFFINE) -> Path:
    return save(root / "labels" / f"{SUBJECT}.nii.gz", data, affine, dtype=np.float32)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def dangling(root: Path) -> None:
    path = image(root)
    path.unlink()
    path.symlink_to(root / "elsewhere.nii.gz")


def a_folder(root: Path) -> None:
    path = image(root)
    path.unlink()
    path.mkdir()


def copied_wrong(root: Path) -> None:
    """A byte of the compressed voxels changed under way: only the checksum tells."""
    path = image(root)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(bytes(raw))


# What is wrong with more than the bytes of an image: how to make it, and what the one error says.
IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "dangling link": (dangling, "no such file"),
    "a folder in place of the file": (a_folder, "no such file"),
    "one bit of the voxels flipped": (copied_wrong, "damaged"),
    "nothing above zero": (lambda root: image(root, -DATA), "brain is empty"),
    "head larger than the model": (lambda root: image(root, np.kron(DATA, np.ones((2, 2, 2)))), "more than the size"),
    "background above zero": (lambda root: image(root, DATA + 5), "not skull-stripped"),
}
MASKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "mask of another shape": (lambda root: mask(root, BRAIN[1:]), "another grid"),
    "mask shifted": (lambda root: mask(root, affine=MOVED), "another grid"),
    "mask empty": (lambda root: mask(root, 0 * BRAIN), "brain is empty"),
    "mask truncated": (lambda root: cut(mask(root)), "truncated"),
    "mask with nan": (lambda root: mask(root, np.where(BRAIN, np.nan, 0)), "NaN"),
    "probabilities as mask": (lambda root: mask(root, BRAIN * 0.3), "whole numbers"),
}
LABEL_MAPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "labels of another shape": (lambda root: labels(root, LABELS[:, 1:]), "another grid"),
    "labels mirrored": (lambda root: labels(root, affine=AFFINE @ np.diag([-1, 1, 1, 1])), "another grid"),
    "labels truncated": (lambda root: cut(labels(root)), "truncated"),
    "labels not whole": (lambda root: labels(root, LABELS * 0.3), "whole numbers"),
}
CASES = sorted([*DAMAGED, *IMAGES, *MASKS, *LABEL_MAPS])


def make(kind: str, root: Path) -> tuple[dict[str, str], str]:
    """Build the case below `root`: the reader's settings and words of its error."""
    if kind in DAMAGED:
        path = image(root, ending=".nii.gz" if DAMAGED[kind][:2] == b"\x1f\x8b" else ".nii")
        path.write_bytes(DAMAGED[kind])
        return {}, ""
    for cases, settings in ((IMAGES, {}), (MASKS, WITH_MASK), (LABEL_MAPS, WITH_LABELS)):
        if kind in cases:
            if cases is not IMAGES:
                image(root)
            cases[kind][0](root)
            return settings, cases[kind][1]
    raise KeyError(kind)


def through_the_readers(root: Path, settings: dict[str, str]) -> None:
    for scan in BidsFolder(root, **settings).scans():
        preprocess()(scan)


def through_check(root: Path, settings: dict[str, str]) -> None:
    errors = inspected(BidsFolder(root, **settings)).errors
    assert len(errors) == 1, errors
    raise DataError(errors[0].problem, cure=errors[0].cure, path=errors[0].path, subject=errors[0].subject)


def through_harmonize(root: Path, settings: dict[str, str]) -> None:
    card = ModelCard("flow", "0", preprocess().settings(), {}, {}, "")
    output = Derivatives(root / "out", "none")
    applied = Applied("flow", Unharmonized(), density=None, preprocess=preprocess(), card=card, weights="")
    worker = Worker(Request([root], root / "out", "none", mask=None), applied, output)
    for scan in BidsFolder(root, **settings).scans():
        try:
            worker.one(scan)
        finally:
            assert not output.root.exists()


WAYS = [through_the_readers, through_check, through_harmonize]


def inspected(source) -> Inspection:
    shares = {"train": 1.0, "val": 0.0, "test": 0.0}
    return inspect(
        SliceDataModule(
            source, preprocess(), "no cache", shares=shares, split_seed=0, count=4, step=1, batch_size=1, seed=0
        )
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", CASES)
def test_each_is_one_clear_error_whatever_the_way_in(kind, way, tmp_path):
    settings, words = make(kind, tmp_path)
    if way is through_harmonize and kind in LABEL_MAPS:
        pytest.skip("harmonize reads no labels")
    with pytest.raises(DataError, match=words or None) as error:
        way(tmp_path, settings)
    assert error.value.subject == SUBJECT
    assert SUBJECT in Path(error.value.path).name
    assert len(error.value.cure) > 10


def test_the_corpus_is_large():
    assert len(CASES) == len(DAMAGED) + len(IMAGES) + len(MASKS) + len(LABEL_MAPS) >= 25


def stored(path: Path, data: np.ndarray = DATA, *, affine: np.ndarray = AFFINE, sform: int = 1, qform: int = 0) -> Path:
    """The phantom with the given codes; the orientation is in the forms with a code above 0 only."""
    made = nibabel.Nifti1Image(data, None)
    made.set_sform(affine if sform else None, sform)
    made.set_qform(affine if qform else None, qform)
    nibabel.save(made, path)
    return path


def big_endian(path: Path) -> Path:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(DATA.astype(np.int16), AFFINE, header), path)
    return path


WHOLE = DATA.astype(np.float32)
VALID: dict[str, Callable[[Path], Path]] = {
    "LAS": lambda path: save(path, DATA, axes="LAS"),
    "PSR, int16": lambda path: save(path, DATA, axes="PSR", dtype=np.int16),
    "LPI, uint8": lambda path: save(path, DATA, axes="LPI", dtype=np.uint8),
    "ASL, int16 with slope": lambda path: save(path, DATA, axes="ASL", dtype=np.int16, slope=0.5),
    "slope and intercept": lambda path: save(path, DATA, dtype=np.int16, slope=0.25, inter=-8.0),
    "SAL, float64": lambda path: save(path, DATA, dtype=np.float64, axes="SAL"),
    "4-D of one volume": lambda path: stored(path, WHOLE[..., None]),
    "5-D of one volume": lambda path: stored(path, WHOLE[..., None, None]),
    "big-endian": big_endian,
    "not compressed": lambda path: save(path.with_suffix(""), DATA),
    "qform only": lambda path: stored(path, WHOLE, sform=0, qform=1),
    "sform only": lambda path: stored(path, WHOLE, sform=2, qform=0),
    "both forms": lambda path: stored(path, WHOLE, sform=4, qform=1),
}


@pytest.mark.parametrize("kind", VALID)
def test_the_same_brain_in_any_valid_file_is_the_same_volume_and_comes_back(kind, tmp_path):
    """Orientations, types, slopes, axes, forms: equal arrays on the model's grid, the file's own voxels on its grid."""
    expected = preprocess()(scan_of(tmp_path / "plain"))
    path = VALID[kind](tmp_path / "scan.nii.gz")
    axes = "".join(nibabel.aff2axcodes(nibabel.load(path).affine))
    tissue = save(tmp_path / "labels.nii.gz", LABELS, axes=axes, dtype=np.uint8)
    volume, native = preprocess()(Scan(path, "sub-01", labels=tissue)), read_nifti(path, subject="sub-01")
    assert torch.equal(volume.image, expected.image)
    assert torch.equal(volume.mask, expected.mask)
    assert torch.equal(volume.labels, expected.labels)
    assert volume.scale == expected.scale
    assert np.allclose(volume.affine, expected.affine)
    file = nibabel.load(path)
    own = file.get_fdata().reshape(file.shape[:3]).astype(np.float32)
    back = preprocess().restore(volume, volume.image, native)
    assert np.array_equal(back, own)
    assert np.array_equal(native.affine, file.affine)
    assert sorted(np.unique(back)) == sorted(np.unique(WHOLE))


def test_the_valid_files_are_what_their_names_say(tmp_path):
    codes = {}
    for kind in ("qform only", "sform only", "both forms", "big-endian", "PSR, int16"):
        header = nibabel.load(VALID[kind](tmp_path / f"{len(codes)}.nii.gz")).header
        codes[kind] = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0, header.endianness
    assert codes["qform only"][:2] == (False, True)
    assert codes["sform only"][:2] == (True, False)
    assert codes["both forms"][:2] == (True, True)
    assert codes["big-endian"][2] == ">"
    assert nibabel.aff2axcodes(nibabel.load(tmp_path / "4.nii.gz").affine) == ("P", "S", "R")


def test_an_oblique_scan_and_negative_values_load_and_come_back(tmp_path):
    angle = np.deg2rad(17)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    data = np.where(DATA > 0, DATA, -3)
    path = save(tmp_path / "scan.nii.gz", data, turn @ AFFINE)
    native = read_nifti(path, subject="s")
    volume = preprocess(size=(48, 48))(Scan(path, "s"))
    assert native.data.min() == -3
    assert volume.image.min() == 0
    assert float(volume.mask.sum()) == pytest.approx((DATA > 0).sum(), rel=0.02)
    assert np.array_equal(preprocess(size=(48, 48)).restore(volume, volume.image, native), data.astype(np.float32))


FLIPS = 60
# First byte and length of the fields of a bare header whose damage is to be noticed.
FIELDS = {
    "size": (0, 4),
    "type": (70, 4),
    "spacing": (76, 32),
    "offset": (108, 4),
    "codes": (252, 4),
    "magic": (344, 4),
}


def test_a_flipped_bit_of_a_packed_file_never_gives_other_voxels(tmp_path):
    path = save(tmp_path / "scan.nii.gz", DATA, dtype=np.int16)
    places = np.random.default_rng(11).integers(0, (path.stat().st_size, 8), (FLIPS, 2)).tolist()
    assert flipped(path, places) > 0.9 * FLIPS


def test_a_flipped_bit_of_a_bare_header_never_gives_other_voxels(tmp_path):
    """Without a checksum a flip among the voxels, in slope and intercept or in the affine is a file that could have
    been meant so: nobody can tell, which is why scans are best kept as .nii.gz."""
    path = save(tmp_path / "scan.nii", DATA, dtype=np.int16)
    random = np.random.default_rng(12)
    places = [[first + int(random.integers(length)), int(random.integers(8))] for first, length in FIELDS.values()]
    for _ in range(FLIPS // len(FIELDS) - 1):
        places += [[f + int(random.integers(n)), int(random.integers(8))] for f, n in FIELDS.values()]
    assert flipped(path, places) > 0.3 * FLIPS


def test_a_flipped_bit_of_the_shape_never_gives_other_voxels(tmp_path):
    path = save(tmp_path / "scan.nii", DATA, dtype=np.int16)
    flipped(path, [[at, bit] for at in (42, 44, 46) for bit in range(8)])


def flipped(path: Path, places: list[list[int]]) -> int:
    """How many of the files with one flipped bit (byte, bit) are refused; those that are not must read the same."""
    raw, truth = path.read_bytes(), read_nifti(path, subject="s")
    refused, named = 0, {path}
    for at, bit in places:
        changed = bytearray(raw)
        changed[at] ^= 1 << bit
        path.write_bytes(bytes(changed))
        try:
            read = read_nifti(path, subject="s")
        except DataError as error:
            refused += 1
            named.add(error.path)
        else:
            assert np.array_equal(read.data, truth.data), (at, bit)
    assert named == {path}
    return refused
