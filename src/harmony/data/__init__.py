"""Files, or nothing at all, into volumes and batches; and volumes back into files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harmony.data.simulation.corruption import (
    GREY_LEVELS,
    BroadCorruption,
    Corruption,
    CurveCorruption,
    InTurn,
    per_image,
)
from harmony.data.simulation.lesions import Lesions
from harmony.data.simulation.negatives import Labelled, alter, candidate_negatives, forced_negatives
from harmony.data.simulation.query_scanners import QueryScanner, query_scanner
from harmony.data.simulation.scanner_corruption import DrawnScanner, ScannerCorruption
from harmony.data.sources.abide import Abide
from harmony.data.sources.atlas import Atlas
from harmony.data.sources.bids import BidsFolder
from harmony.data.sources.dhcp import Dhcp
from harmony.data.sources.ixi import Ixi
from harmony.data.sources.manifest_csv import CsvManifest
from harmony.data.sources.oasis3 import Oasis3
from harmony.data.sources.single import single_scan
from harmony.data.sources.sites import SimulatedSites
from harmony.data.volumes.bias import n4
from harmony.data.volumes.cache import VolumeCache, load_volumes
from harmony.data.volumes.labels import LABEL_MAPS, STRUCTURES, TISSUE_MAPS, TISSUES, map_labels
from harmony.data.volumes.nifti import Nifti, read_labels, read_nifti, write_nifti
from harmony.data.volumes.planes import three_planes
from harmony.data.volumes.preprocess import Preprocess, brain_mask
from harmony.data.volumes.travelling import on_grid_of, on_one_lattice

if TYPE_CHECKING:
    from harmony.data.module import SliceDataModule

__all__ = [
    "GREY_LEVELS",
    "LABEL_MAPS",
    "STRUCTURES",
    "TISSUES",
    "TISSUE_MAPS",
    "Abide",
    "Atlas",
    "BidsFolder",
    "BroadCorruption",
    "Corruption",
    "CsvManifest",
    "CurveCorruption",
    "Dhcp",
    "DrawnScanner",
    "InTurn",
    "Ixi",
    "Labelled",
    "Lesions",
    "Nifti",
    "Oasis3",
    "Preprocess",
    "QueryScanner",
    "ScannerCorruption",
    "SimulatedSites",
    "SliceDataModule",
    "VolumeCache",
    "alter",
    "brain_mask",
    "candidate_negatives",
    "forced_negatives",
    "load_volumes",
    "map_labels",
    "n4",
    "on_grid_of",
    "on_one_lattice",
    "per_image",
    "query_scanner",
    "read_labels",
    "read_nifti",
    "single_scan",
    "three_planes",
    "write_nifti",
]


def __getattr__(name: str) -> Any:
    """Batches are for training, and lightning, which takes them, loads for seconds: harmonizing waits for neither."""
    if name == "SliceDataModule":
        from harmony.data.module import SliceDataModule

        return SliceDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
