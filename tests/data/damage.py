"""Images that cannot be used, byte by byte."""

from __future__ import annotations

import gzip
import struct

import nibabel
import numpy as np
from phantoms import AFFINE

RNG = np.random.default_rng(0)


def noise(shape=(8, 9, 7)) -> np.ndarray:
    return RNG.uniform(1, 100, shape).astype(np.float32)


def patched(header: bytes, at: int, form: str, *values: float) -> bytes:
    raw = bytearray(header)
    struct.pack_into("<" + form, raw, at, *values)
    return bytes(raw)


def good(data: np.ndarray | None = None) -> bytes:
    return nibabel.Nifti1Image(noise() if data is None else data, AFFINE).to_bytes()


def with_value(value: float) -> bytes:
    data = noise()
    data[3, 4, 5] = value
    return good(data)


FULL = good()
PACKED = gzip.compress(FULL)
DAMAGED = {
    "empty file": b"",
    "text": b"this is not an image " * 50,
    "only a header": FULL[:348],
    "half a header": FULL[:200],
    "truncated": FULL[:-100],
    "truncated gzip": PACKED[: len(PACKED) // 2],
    "gzip without its checksum": PACKED[:-8],
    "gzip with a wrong checksum": PACKED[:-8] + bytes(4) + PACKED[-4:],
    "gzip of nothing": gzip.compress(b""),
    "garbage after gzip magic": b"\x1f\x8b\x08" + bytes(RNG.integers(0, 256, 500, np.uint8)),
    "asks for 2^45 voxels": patched(FULL, 40, "8h", 3, 32767, 32767, 32767, 1, 1, 1, 1),
    "asks for 2^45 voxels, packed": gzip.compress(patched(FULL, 40, "8h", 3, 32767, 32767, 32767, 1, 1, 1, 1)),
    "no voxels": patched(FULL, 40, "8h", 3, 8, 0, 7, 1, 1, 1, 1),
    "negative size": patched(FULL, 40, "8h", 3, 8, -9, 7, 1, 1, 1, 1),
    "unknown type": patched(FULL, 70, "h", 9999),
    "colours": nibabel.Nifti1Image(np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), AFFINE).to_bytes(),
    "complex": good(noise().astype(np.complex64)),
    "nan": with_value(np.nan),
    "infinite": with_value(np.inf),
    "flat": good(np.full((8, 9, 7), 3, np.float32)),
    "all zero": good(np.zeros((8, 9, 7), np.float32)),
    "several volumes": good(noise((4, 4, 4, 2))),
    "two dimensions": good(noise((8, 9))),
    "singular affine": patched(FULL, 280, "12f", *([0.0] * 12)),
    "affine with nan": patched(FULL, 280, "12f", *([float("nan")] * 12)),
    "header and image pair": patched(FULL, 344, "4s", b"ni1\0"),
    "slope beyond float32": patched(good(np.arange(1, 505, dtype=np.float64).reshape(8, 9, 7) * 1e300), 112, "f", 1.0),
}
