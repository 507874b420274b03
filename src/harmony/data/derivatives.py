"""Where results go: BIDS derivatives with a sidecar that says where each image comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harmony.core import Scan
from harmony.core.contrasts import T1W, contrast_of
from harmony.core.files import write_atomic
from harmony.data.nifti import Nifti, write_nifti


@dataclass(frozen=True)
class Derivatives:
    """A BIDS derivatives folder: `sub-X[/ses-Y]/anat/sub-X[_ses-Y]_desc-harmonized_T1w.nii.gz`, each with a `.json`."""

    root: Path

    def image(self, scan: Scan) -> Path:
        folder = self.root / scan.subject / (scan.session or "") / "anat"
        return folder / f"{scan.name}_desc-harmonized_{scan.contrast}.nii.gz"

    def sidecar(self, scan: Scan) -> Path:
        return self.image(scan).with_name(f"{scan.name}_desc-harmonized_{scan.contrast}.json")

    def mask(self, scan: Scan) -> Path:
        """Where a brain mask lies that was made for the scan."""
        return self.image(scan).with_name(f"{scan.name}_desc-brain_mask.nii.gz")

    def lock(self, scan: Scan) -> Path:
        """Held by the process that works on the scan."""
        return self.root / ".locks" / f"{scan.name}.lock"

    def figure(self, scan: Scan) -> Path:
        return self.root / "figures" / f"{scan.name}.png"

    def describe(self, *, version: str, source: Path) -> None:
        """dataset_description.json, as BIDS wants it of derivatives."""
        about = {
            "Name": "harmony: harmonized T1w scans",
            "BIDSVersion": "1.9.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "harmony", "Version": version}],
            "SourceDatasets": [{"URL": source.name}],
        }
        write_atomic(self.root / "dataset_description.json", json.dumps(about, indent=2) + "\n")

    def provenance(self, scan: Scan) -> dict[str, Any] | None:
        """The sidecar of a finished scan; None where image or sidecar is missing or unreadable."""
        try:
            if not self.image(scan).exists():
                return None
            return json.loads(self.sidecar(scan).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def write(self, scan: Scan, data: np.ndarray, native: Nifti, provenance: Mapping[str, Any]) -> None:
        """The image first, the sidecar last: a scan counts as done when its sidecar is there."""
        for leftover in self.image(scan).parent.glob(f".tmp-{scan.name}_desc-harmonized*"):  # of a killed process
            leftover.unlink(missing_ok=True)
        self.sidecar(scan).unlink(missing_ok=True)
        write_nifti(self.image(scan), data, native)
        write_atomic(self.sidecar(scan), json.dumps(dict(provenance), indent=2) + "\n")


def single_scan(path: Path, mask: Path | None, *, otherwise: str = T1W) -> Scan:
    """One file as a scan: subject, session and contrast from a BIDS name, else a subject made of the file's name, and
    the contrast `otherwise`."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    contrast = contrast_of(path) or otherwise
    found = re.match(r"(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?", stem)
    subject = found[1] if found else "sub-" + (re.sub(r"[^A-Za-z0-9]", "", stem) or "scan")
    return Scan(path, subject, session=found[2] if found else None, mask=mask, contrast=contrast)
