"""Preprocessed volumes on disk: found again, never stale, never half-written."""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harmony.core import DataError, Scan, Volume
from harmony.core.files import atomic_path
from harmony.core.progress import watched
from harmony.data.volumes.preprocess import Preprocess

log = logging.getLogger(__name__)
LAYOUT_VERSION = 5  # of the file below, and of rounding; voxels beyond it have preprocess.VERSION


class VolumeCache:
    """Volumes as safetensors, one file per (input files with size and time, preprocessing settings).

    A changed file or setting is another key; an entry that cannot be read or fails its checksum is built again. Two
    processes may share the folder: an entry appears complete, and both would write the same.

    Volumes are views of their files (memory-mapped, private): hundreds of them cost page cache, not memory. An entry is
    therefore only ever replaced, never written into.
    """

    def __init__(self, folder: Path | str, preprocess: Preprocess) -> None:
        self.folder, self.preprocess = Path(folder), preprocess

    def get(self, scan: Scan) -> Volume:
        """The volume of a scan. Raises DataError as `Preprocess` does."""
        if not scan.path.exists():
            return self.preprocess(scan)  # names what is missing
        path = self.folder / f"{scan.name}-{self._key(scan)}.safetensors"
        volume = _read(path, scan)
        if volume is None:
            volume = self.preprocess(scan)
            with atomic_path(path) as temporary:
                _write(temporary, volume)
            volume = _read(path, scan) or volume
        return volume

    def _key(self, scan: Scan) -> str:
        files = [
            _stamp(path) for path in (scan.path, scan.mask, scan.labels, *([scan.lesions] if scan.lesions else []))
        ]
        settings = [self.preprocess.settings(), self.preprocess.only_plausible]
        text = json.dumps([LAYOUT_VERSION, files, *settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def load_volumes(scans: Iterable[Scan], cache: VolumeCache, progress: str, *, skip_bad: bool = False) -> list[Volume]:
    """All volumes, in order; `progress` names the work on screen. One DataError lists every scan that failed.

    skip_bad: go on without the scans that failed, if any is left; they are named in the log, in a list at the end.
    """
    volumes, errors = [], []
    for scan in watched(list(scans), progress):
        try:
            volumes.append(cache.get(scan))
        except DataError as error:
            errors.append(error)
    if errors and skip_bad and volumes:
        log.warning("%d bad scans left out:%s", len(errors), "".join(f"\n  {error}" for error in errors))
        return volumes
    if len(errors) == 1:
        raise errors[0]
    if errors:
        lines = "".join(f"\n  {error}" for error in errors[:20]) + ("\n  ..." if len(errors) > 20 else "")
        raise DataError(
            f"{len(errors)} scans cannot be used:{lines}\n", cure="mend them, or leave them out of the data folder"
        )
    return volumes


def _stamp(path: Path | None) -> list[str | int] | None:
    if path is None or not path.exists():
        return None
    stat = path.stat()
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


def _write(path: Path, volume: Volume) -> None:
    tensors = {"image": volume.image.contiguous(), "mask": volume.mask.contiguous()}
    if volume.labels is not None:
        tensors["labels"] = volume.labels.contiguous()
    if volume.lesions is not None:
        tensors["lesions"] = volume.lesions.contiguous()
    about = {"scale": volume.scale, "affine": volume.affine.tolist(), "zero": volume.zero, "remarks": volume.remarks}
    about["resampled"] = list(volume.resampled)
    about["crc"] = _crc(tensors, about)
    save_file(tensors, path, metadata={"harmony": json.dumps(about)})


def _read(path: Path, scan: Scan) -> Volume | None:
    """The stored volume; None where there is none or it is damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["harmony"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if about.pop("crc") != _crc(tensors, about):
            raise ValueError("checksum differs")
        affine = np.array(about["affine"], np.float64)
        named, scale = [tensors.get(name) for name in ("labels", "lesions")], float(about["scale"])
        zero, remarks = float(about["zero"]), tuple(about["remarks"])
        resampled: Any = tuple(float(width) for width in about["resampled"])
        image, mask = tensors["image"], tensors["mask"]
        return Volume(scan, image, mask, named[0], affine, scale, named[1], zero, remarks, resampled)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        # RuntimeError is torch's word for a file that went away between two looks (another process cleans up).
        log.warning("%s: damaged cache entry (%s), building it again", path, error)
        return None


def _crc(tensors: dict[str, Tensor], about: dict[str, Any]) -> int:
    """Over everything that a volume is made of: names, types and shapes decide as much as the bytes."""
    forms = {name: [str(tensor.dtype), list(tensor.shape)] for name, tensor in tensors.items()}
    crc = zlib.crc32(json.dumps([forms, about], sort_keys=True).encode())
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].numpy().view(np.uint8).data, crc)
    return crc
