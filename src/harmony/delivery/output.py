"""Where results go: an image, and a sidecar that says where it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harmony.core import DamagedError, Scan
from harmony.core.digests import read_sealed, sha256, write_sealed
from harmony.core.files import remove_leftovers
from harmony.data.volumes.nifti import Nifti, write_nifti

DIGEST = "ImageDigest"  # of the sidecar: SHA-256 of the image that it belongs to


@dataclass(frozen=True)
class Result:
    """A finished scan: the name of its files, its sidecar, its picture."""

    name: str
    about: dict[str, Any]
    figure: Path


class Output(ABC):
    """Call `check` first: nothing that somebody else made is written over."""

    @abstractmethod
    def image(self, scan: Scan) -> Path:
        """The harmonized image of a scan."""

    @abstractmethod
    def sidecar(self, scan: Scan) -> Path:
        """Its sidecar."""

    @abstractmethod
    def mask(self, scan: Scan) -> Path:
        """Where a brain mask lies that was made for the scan."""

    @abstractmethod
    def lock(self, scan: Scan) -> Path:
        """Held by the process that works on the scan."""

    @abstractmethod
    def figure(self, scan: Scan) -> Path | None:
        """The scan before and after; None where no page shows it."""

    @property
    @abstractmethod
    def page(self) -> Path | None:
        """Over all results; None where there is none."""

    @abstractmethod
    def results(self) -> Iterator[Result]:
        """What is finished there, for the page."""

    @abstractmethod
    def check(self, scans: Sequence[Scan]) -> None:
        """Raises DataError or ConfigError where writing the results of `scans` would destroy something. Nothing is
        written."""

    @abstractmethod
    def describe(self, *, version: str, sources: Sequence[Path]) -> None:
        """What stands over all results. sources: the scans, or the folder that they are from."""

    def provenance(self, scan: Scan) -> dict[str, Any] | None:
        """The sidecar of a finished scan; None where image or sidecar is missing, or not what was written."""
        try:
            about = read_sealed(self.sidecar(scan))
            if about.get(DIGEST, (whole := sha256(self.image(scan)))) != whole:
                return None
        except (OSError, DamagedError):
            return None
        return about

    def write(self, scan: Scan, data: np.ndarray, native: Nifti, provenance: Mapping[str, Any]) -> None:
        """The image first, the sidecar last: a scan counts as done when its sidecar is there."""
        remove_leftovers(self.image(scan))
        self.sidecar(scan).unlink(missing_ok=True)
        write_nifti(self.image(scan), data, native)
        write_sealed(self.sidecar(scan), {**provenance, DIGEST: sha256(self.image(scan))})
