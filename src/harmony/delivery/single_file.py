"""One scan into one file, with its sidecar beside it: `harmony harmonize scan.nii.gz out.nii.gz`."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony.core import ConfigError, DataError, Scan
from harmony.core.digests import sha256
from harmony.data.sources.single import bare
from harmony.delivery.output import Output, Result


@dataclass(frozen=True)
class SingleFile(Output):
    """path: .nii or .nii.gz. A file that harmony did not make of the same scan is never replaced."""

    path: Path

    def image(self, scan: Scan) -> Path:
        return self.path

    def sidecar(self, scan: Scan) -> Path:
        return self.path.with_name(f"{self._stem}.json")

    def mask(self, scan: Scan) -> Path:
        return self.path.with_name(f"{self._stem}_desc-brain_mask.nii.gz")

    def lock(self, scan: Scan) -> Path:
        """Outside of the folder: nothing but the image and what belongs to it is left there."""
        name = hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"harmony-{name}.lock"

    def figure(self, scan: Scan) -> None:
        return None

    @property
    def page(self) -> None:
        return None

    def results(self) -> Iterator[Result]:
        return iter(())

    def check(self, scans: Sequence[Scan]) -> None:
        if len(scans) > 1:
            raise ConfigError(f"output={self.path}: one file for {len(scans)} scans -> name a folder")
        former = self.provenance(scans[0])
        mine = former is not None and former.get("MadeFrom", {}).get("image") == sha256(scans[0].path)
        if self.path.exists() and not mine:
            problem = "is there already, and is not what harmony made of this scan"
            raise DataError(problem, cure="give another name, or delete it first", path=self.path)

    def describe(self, *, version: str, sources: Sequence[Path]) -> None:
        """The sidecar says all there is to say."""

    @property
    def _stem(self) -> str:
        return bare(self.path)
