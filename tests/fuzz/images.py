"""The same brain in another unit, turned, flipped, in pieces or damaged: harmonized alike, or refused; never silently
otherwise.

The oracle: histogram matching with a made-up reference, of a copy a y + b that is turned and flipped, must give what
the original gives, brought into the unit and grid of the copy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
import nibabel
import numpy as np
import torch
from scipy import ndimage

from harmony.core import Harmonized, HarmonyError, Scan
from harmony.core.reference import Reference
from harmony.data import Preprocess, brain_mask, read_nifti

AFFINE = np.array([[5.0, 0, 0, -60], [0, 5, 0, -75], [0, 0, 5, -55], [0, 0, 0, 1]])
SHAPE = (26, 32, 24)
AMID = (13, 21, 12)  # amid brain, wherever the empty plane is: beside it a voxel is at the brain's edge
TOLERANCE = 0.04  # of the robust maximum: the darkest voxel of a z-score is not quite at its zero
Q = torch.linspace(0, 1, 64)
REFERENCE = Reference(torch.zeros(2, 1, 32, 32), (0.05 + 0.9 * Q**1.3).expand(2, 64).contiguous(), torch.ones(2))


@dataclass(frozen=True)
class Copy:
    """What is done to the brain. gain, offset: of the intensities (offset: of 1000 before the gain). outside: offset,
    zero or nan. whole: rounded to whole numbers. axes: the order of the file's axes, and which are flipped. piece: an
    empty plane. masked: with a mask."""

    gain: float
    offset: float
    outside: str
    whole: bool
    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    piece: int
    masked: bool
    damage: str


copies = st.builds(
    Copy,
    gain=st.floats(-4, 4).map(lambda power: 10.0**power),
    offset=st.just(0.0) | st.floats(-3, -0.1) | st.floats(0.1, 3),
    outside=st.sampled_from(["offset", "offset", "zero", "nan"]),
    whole=st.booleans(),
    axes=st.permutations([0, 1, 2]).map(tuple),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    piece=st.just(0) | st.integers(8, 18),
    masked=st.booleans(),
    damage=st.sampled_from(["none"] * 8 + ["constant", "nan inside", "mask off", "empty mask", "noise", "infinite"]),
)


@functools.cache
def brain(piece: int) -> np.ndarray:
    """Fluid, grey and white matter with noise, 5 to 1000 and 0 outside; an empty plane parts it."""
    random = np.random.default_rng(0)
    place = (np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2) / (11.0, 14.0, 10.0)
    radius = np.linalg.norm(place, axis=-1)
    folds = radius + 0.06 * np.sin(9 * place[..., 0]) * np.cos(8 * place[..., 1])
    level = np.select([folds < 0.25, folds < 0.6, folds < 0.88], [200, 900, 600], 200)
    made = np.where(radius < 1, np.clip(level + random.normal(0, 40, SHAPE), 5, 1000), 0)
    made[radius < 1] = np.where(random.random(np.count_nonzero(radius < 1)) < 0.01, 5, made[radius < 1])
    if piece:
        made[:, piece] = 0
    return made


def image_check(folder: Path) -> Callable[[Copy], None]:
    prepare = Preprocess(spacing=5.0, axis="axial", size=(32, 32), percentile=99.5)
    folder.mkdir()

    @functools.cache
    def original(piece: int) -> tuple[np.ndarray, float]:
        return harmonized(save(folder / f"own{piece}.nii", brain(piece), AFFINE), prepare)

    def check(copy: Copy) -> None:
        scan, sound = written(copy, folder)
        try:
            result, scale = harmonized(scan, prepare)
        except HarmonyError:
            assert not sound, f"refused: {copy}"
            raise
        assert copy.damage in ("none", "noise"), f"taken: {copy}"
        if copy.damage == "none" and comparable(copy):
            agree(copy, result, scale, *original(copy.piece))

    return check


def harmonized(scan: Scan, prepare: Preprocess) -> tuple[np.ndarray, float]:
    """On the file's grid, in the file's unit, and its robust maximum there; nothing outside may be changed."""
    volume, native = prepare(scan), read_nifti(scan.path, subject="x")
    stack = volume.stack(volume.select(None, 1))
    made = Harmonized(REFERENCE.match(stack))
    out = prepare.restore(volume, made.image[:, 0], native)
    mask = brain_mask(scan, native)
    assert np.isfinite(out).all()
    assert np.array_equal(out[~mask], native.data[~mask])
    return out, volume.scale


def agree(copy: Copy, result: np.ndarray, scale: float, truth: np.ndarray, top: float) -> None:
    inside = brain(copy.piece) > 0
    lifted = (original_grid(copy, result) - copy.gain * 1000 * copy.offset) / copy.gain
    off = np.abs(lifted - truth)[inside]
    rounding = 0.6 / copy.gain if copy.whole else 0
    assert np.percentile(off, 99) <= TOLERANCE * top + rounding, f"off by {np.percentile(off, 99) / top:.3f}: {copy}"
    assert abs(scale / copy.gain / top - 1) <= TOLERANCE + rounding / top, (
        f"scale {scale / copy.gain / top:.3f}: {copy}"
    )


def written(copy: Copy, folder: Path) -> tuple[Scan, bool]:
    """The file, its mask, and whether it has to be taken."""
    data, inside = brain(copy.piece), brain(copy.piece) > 0
    offset = copy.gain * 1000 * copy.offset
    outside = {"offset": offset, "zero": 0.0, "nan": np.nan}[copy.outside]
    image = np.where(inside, copy.gain * data + offset, outside)
    image = np.rint(image) if copy.whole else image
    image, mask = damaged(copy, image, inside)
    affine = AFFINE @ turned(copy)
    path = save(folder / "copy.nii", file_grid(copy, image), affine).path
    masked = copy.masked or copy.damage in ("mask off", "empty mask")
    file = save(folder / "mask.nii", file_grid(copy, mask), affine).path if masked else None
    return Scan(path, "sub-01", mask=file), copy.damage == "none" and clear(copy)


def clear(copy: Copy) -> bool:
    """Whether anybody can tell brain, unit and zero; where not, a refusal is right."""
    if copy.whole and copy.gain < 0.05:
        return False  # a handful of grey levels is left
    if copy.masked:
        return True
    return copy.offset == 0 or (copy.outside == "offset" and copy.offset < 0)


def comparable(copy: Copy) -> bool:
    """Whether the copy still says what the original says: not with few grey levels, nor where a brain that was lifted
    above a background of 0 could be just that."""
    return (copy.gain >= 1 or not copy.whole) and (copy.offset <= 0 or copy.outside == "offset")


def damaged(copy: Copy, image: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    image, mask = image.copy(), inside.astype(np.float64)
    if copy.damage == "constant":
        image[inside] = image[inside][0]
    elif copy.damage == "nan inside":
        image[AMID] = np.nan
    elif copy.damage == "infinite":
        image[AMID] = np.inf
    elif copy.damage == "mask off":
        mask = mask[:, :, 1:]
    elif copy.damage == "empty mask":
        mask[:] = 0
    elif copy.damage == "noise":
        image = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, copy.gain, SHAPE), 1)
    return image, mask


def turned(copy: Copy) -> np.ndarray:
    """Voxel of the copy -> voxel of the original."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for column, (axis, flipped) in enumerate(zip(copy.axes, copy.flips, strict=True)):
        matrix[axis, column] = -1 if flipped else 1
        matrix[axis, 3] = SHAPE[axis] - 1 if flipped else 0
    return matrix


def file_grid(copy: Copy, data: np.ndarray) -> np.ndarray:
    moved = data.transpose(copy.axes)
    return np.flip(moved, [axis for axis, flipped in enumerate(copy.flips) if flipped])


def original_grid(copy: Copy, data: np.ndarray) -> np.ndarray:
    back = np.flip(data, [axis for axis, flipped in enumerate(copy.flips) if flipped])
    return back.transpose(np.argsort(copy.axes))


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> Scan:
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(data, np.float32), affine), path)
    return Scan(path, "sub-01")
