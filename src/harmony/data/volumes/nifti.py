"""The one safe way in and out of NIfTI (and in from MGZ): a damaged file is an error that names file and cure."""

from __future__ import annotations

import gzip
import itertools
import logging
import math
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import nibabel
import numpy as np
from scipy import ndimage

from harmony.core import ConfigError, DataError
from harmony.core.files import atomic_path

log = logging.getLogger(__name__)
GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_LIMIT = 1032  # deflate cannot shrink by more: a file of n bytes never holds more than 1032 n
HEADERS = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
MAX_VOXELS = 300_000_000  # a whole head at 0.35 mm; reading one takes about 16 bytes a voxel
LIMIT = "HARMONY_MAX_VOXELS"
PIECE = 1 << 24  # bytes read at once
MGH_VERSION, MGH_OFFSET = 1, 284  # FreeSurfer's .mgz: the first four bytes, and where its voxels begin
FREE_TEXT = {"data_type", "db_name", "descrip", "aux_file", "intent_name"}
SMALLER = f"check the header, use a machine with more memory, or lower {LIMIT}= to be told earlier"
COPY_AGAIN = "copy or export the file again"
DCM2NIIX = "convert the series to NIfTI: dcm2niix -z y -o OUTPUT_FOLDER DICOM_FOLDER"


@dataclass(frozen=True)
class Nifti:
    """One 3-D image. data: (X, Y, Z) float32, scale slope applied, finite; affine: (4, 4) float64, voxel -> mm (RAS).
    missing: (X, Y, Z) bool, the voxels that are NaN in the file and 0 in data; None where there are none."""

    data: np.ndarray
    affine: np.ndarray
    header: nibabel.Nifti1Header
    missing: np.ndarray | None = None

    @property
    def oriented(self) -> bool:
        """Whether the header states an orientation (sform or qform code above 0)."""
        return bool(self.header["sform_code"] or self.header["qform_code"])


def read_nifti(path: Path, *, subject: str) -> Nifti:
    """Read one 3-D volume (a fourth axis of length 1 is dropped).

    NaN around the brain, as SPM writes it, is read as 0 (`missing` says where).

    Raises DataError for a missing, truncated or altered file, another format, more than one volume, no voxels, values
    that are infinite, one value everywhere, or a grid without a usable affine.
    """
    nifti = _read(path, subject)
    missing = np.isnan(nifti.data)
    if missing.any():
        if count := np.count_nonzero(missing & ~_outside(missing | (nifti.data == 0))):
            problem, cure = f"{count} voxels amid others are NaN", "make the image again (NaN may only be around it)"
            raise DataError(problem, cure=cure, path=path, subject=subject)
        nifti = replace(nifti, data=np.where(missing, np.float32(0), nifti.data), missing=missing)
    if nifti.data.min() == nifti.data.max():
        raise DataError("the image has one value everywhere", cure=COPY_AGAIN, path=path, subject=subject)
    return nifti


def read_labels(path: Path, like: Nifti, subject: str) -> np.ndarray:
    """A label map or mask on the grid of `like`: (X, Y, Z) int16. Raises DataError where grid or values do not fit."""
    nifti = _read(path, subject)
    if count := np.count_nonzero(np.isnan(nifti.data)):
        raise DataError(f"{count} labels are NaN", cure="set them to 0", path=path, subject=subject)
    if not same_grid(nifti, like):
        raise DataError(
            f"labels on another grid than the image (shape {nifti.data.shape}, image {like.data.shape})",
            cure="resample the labels onto the image (nearest neighbour)",
            path=path,
            subject=subject,
        )
    whole = np.rint(nifti.data)
    if np.abs(nifti.data - whole).max() > 1e-3 or np.abs(whole).max() > np.iinfo(np.int16).max:
        raise DataError(
            "labels are not whole numbers", cure="give a label map, not probabilities", path=path, subject=subject
        )
    return whole.astype(np.int16)


def write_nifti(path: Path, data: np.ndarray, like: Nifti) -> None:
    """Write (X, Y, Z) as float32 with the header of `like`: same affine and codes, slope 1, nothing rounded.

    What the input's header says in words stays behind: scanners and converters write names and dates there.
    """
    if data.shape != like.data.shape:
        raise ValueError(f"data {data.shape} is not on the grid of the original {like.data.shape}")
    header = like.header.copy()
    header.extensions.clear()
    for name in FREE_TEXT & set(header.keys()):
        header[name] = b""
    header.set_data_dtype(np.float32)
    kind = HEADERS[int(header["sizeof_hdr"])]
    with atomic_path(path) as temporary:
        nibabel.save(kind(np.asarray(data, np.float32), like.affine, header), temporary)


def _outside(nothing: np.ndarray) -> np.ndarray:
    """Of the voxels that hold nothing, those that reach the border of the grid through others of them (faces touch)."""
    parts, _ = ndimage.label(np.pad(nothing, 1, constant_values=True))  # padded: all that reaches it is one part
    return (parts == parts[0, 0, 0])[1:-1, 1:-1, 1:-1]


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so (132 bytes or more) is DICOM: `DICM` behind 128 free bytes, or, in old files
    without that, an element of group 8 first."""
    return head[128:132] == b"DICM" or head[:4] in (b"\x08\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00")


def dicom_below(folder: Path, most: int = 200) -> Path | None:
    """A DICOM file in a folder or below it, among the first `most` files; None where there is none."""
    files = (Path(where, name) for where, _, names in os.walk(folder) for name in sorted(names))
    for path in itertools.islice(files, most):
        try:
            with path.open("rb") as file:
                if is_dicom(file.read(132)):
                    return path
        except OSError:
            continue
    return None


def same_grid(a: Nifti, b: Nifti) -> bool:
    """Same shape, and no corner of the grid is displaced by more than 5 % of a voxel."""
    if a.data.shape != b.data.shape:
        return False
    corners = np.array([[*index, 1.0] for index in itertools.product(*((0, n - 1) for n in a.data.shape))])
    apart = np.linalg.norm(corners @ (a.affine - b.affine).T, axis=1).max()
    return bool(apart < 0.05 * np.linalg.norm(b.affine[:3, :3], axis=0).min())


def _read(path: Path, subject: str) -> Nifti:
    path = Path(path)

    def bad(problem: str, cure: str = COPY_AGAIN) -> DataError:
        return DataError(problem, cure=cure, path=path, subject=subject)

    if not path.is_file():
        raise bad("no such file", "check the path, and that the file was downloaded (not a dangling link)")
    try:
        image = _parse(path)
    except _BadImageError as error:
        raise bad(str(error), error.cure) from error
    except MemoryError as error:
        raise bad("not enough memory for what its header asks for", SMALLER) from error
    except (OSError, EOFError, zlib.error) as error:
        raise bad(f"the file is truncated or damaged ({error})") from error
    shape = image.shape
    if len(shape) < 3 or math.prod(shape[3:]) != 1:
        raise bad(f"expected one 3-D volume, got shape {shape}", "split it, keep one T1w volume per file")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-9:
        raise bad("the affine is not invertible", "repair the header (sform/qform)")
    if image.header["sform_code"] == 0 and image.header["qform_code"] == 0:
        log.warning("%s: the header states no orientation (sform and qform code 0); read as nibabel guesses it", path)
    data = _voxels(image, bad)
    if count := np.count_nonzero(np.isinf(data)):
        raise bad(f"{count} voxels are infinite", "set them to 0 (outside the brain), or store smaller numbers")
    return Nifti(data, np.asarray(image.affine, np.float64), image.header)


def _voxels(image: nibabel.Nifti1Image, bad: Callable[[str, str], DataError]) -> np.ndarray:
    """(X, Y, Z) float32, scaled."""
    try:
        with np.errstate(all="ignore"):
            return image.get_fdata(caching="unchanged").reshape(image.shape[:3]).astype(np.float32)
    except MemoryError as error:
        raise bad(f"not enough memory for {math.prod(image.shape)} voxels", SMALLER) from error


class _BadImageError(Exception):
    """What is wrong with the file, in words, and what to do about it."""

    def __init__(self, problem: str, cure: str = COPY_AGAIN) -> None:
        super().__init__(problem)
        self.cure = cure


def _parse(path: Path) -> nibabel.Nifti1Image:
    """The image, voxels in memory. nibabel alone stops before the CRC, and allocates what the header asks for."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    size = path.stat().st_size
    with gzip.open(path) if packed else path.open("rb") as stream:
        head = stream.read(540)
        kind, needed, smallest = _inspect(head)
        if needed > size * (DEFLATE_LIMIT if packed else 1):
            raise _BadImageError(f"the header asks for {needed} bytes of voxels, the file has {size} (truncated?)")
        raw = _filled(head, stream, needed)
        if len(raw) < needed:
            raise _BadImageError(f"the file is truncated: {len(raw)} of {needed} bytes")
        left = (
            _drain(stream) if kind is not nibabel.MGHImage else 0 * _drain(stream)
        )  # which has tags behind its voxels
        if left >= smallest:
            raise _BadImageError(f"{left} bytes or more behind the last voxel: the header's shape or type is damaged")
    if left:
        log.warning("%s: %d bytes behind the last voxel are not read", path, left)
    try:
        image = kind.from_bytes(raw)
        if isinstance(image, nibabel.MGHImage):  # from here on everything is NIfTI: so is what is written back
            image = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine)
    except MemoryError:
        raise
    except Exception as error:  # nibabel raises a dozen unrelated types on a damaged header
        raise _BadImageError(f"not a readable NIfTI ({error})") from error
    return image


class _Layout(NamedTuple):
    """The kind of image, the number of bytes up to its last voxel, and those of its smallest slice: fewer behind the
    last voxel do not mean that a side of the grid is wrong."""

    kind: type[nibabel.Nifti1Image] | type[nibabel.MGHImage]
    needed: int
    slice: int


def _inspect(head: bytes) -> _Layout:
    if int.from_bytes(head[:4], "big") == MGH_VERSION:
        return _inspect_mgh(head)
    sizes = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")} & set(HEADERS)
    if is_dicom(head):
        raise _BadImageError("a DICOM file, not a NIfTI", DCM2NIIX)
    if not sizes or len(head) < max(sizes):
        raise _BadImageError("not a NIfTI file")
    length = sizes.pop()
    kind = HEADERS[length]
    try:
        header = kind.header_class(head[:length])
        shape, dtype, offset = header.get_data_shape(), header.get_data_dtype(), int(header.get_data_offset())
    except Exception as error:
        raise _BadImageError(f"not a readable NIfTI ({error})") from error
    if not header["magic"].item().startswith(b"n+"):
        raise _BadImageError("not a single-file NIfTI (a .hdr/.img pair has to be converted to .nii.gz)")
    if dtype.kind not in "iuf":
        raise _BadImageError(f"voxels of type {dtype} are not grey values")
    if not shape or min(shape) < 1:
        raise _BadImageError(f"no voxels: shape {shape}")
    return _layout(kind, shape, dtype, offset)


def _inspect_mgh(head: bytes) -> _Layout:
    try:
        header = nibabel.MGHImage.header_class(head[:MGH_OFFSET])
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
    except Exception as error:
        raise _BadImageError(f"not a readable MGH/MGZ file ({error})") from error
    if not shape or min(shape) < 1:
        raise _BadImageError(f"no voxels: shape {shape}")
    return _layout(nibabel.MGHImage, shape, dtype, MGH_OFFSET)


def _layout(
    kind: type[nibabel.Nifti1Image] | type[nibabel.MGHImage], shape: tuple[int, ...], dtype: np.dtype, offset: int
) -> _Layout:
    """Raises _BadImageError for more voxels than anybody's brain needs."""
    voxels, limit = math.prod(int(n) for n in shape), max_voxels()
    needed = offset + voxels * dtype.itemsize
    if voxels > limit or needed > limit * 16:  # no type has more bytes a voxel
        raise _BadImageError(
            f"the header asks for {voxels} voxels in {needed} bytes, more than {limit} voxels; if that is meant, set "
            f"the environment variable {LIMIT}"
        )
    return _Layout(kind, needed, voxels // max(shape) * dtype.itemsize)


def max_voxels() -> int:
    """`HARMONY_MAX_VOXELS`. Raises ConfigError where it is no whole number above 0."""
    text = os.environ.get(LIMIT) or str(MAX_VOXELS)
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{LIMIT}={text}: not a whole number above 0")
    return int(text)


def _filled(head: bytes, stream: BinaryIO | gzip.GzipFile, needed: int) -> bytearray:
    """The first `needed` bytes of a file, or as many as there are; memory grows with what is there."""
    raw = bytearray(head)
    while len(raw) < needed and (part := stream.read(min(PIECE, needed - len(raw)))):
        raw += part
    return raw


def _drain(stream: BinaryIO | gzip.GzipFile) -> int:
    """Read to the end, only then is the checksum of a gzip stream compared; how many bytes there were, up to 64 MiB."""
    left = 0
    while left < 4 * PIECE and (part := stream.read(1 << 20)):
        left += len(part)
    return left
