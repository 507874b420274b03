"""Files, or nothing at all, into volumes and batches; and volumes back into files."""

from harmony.data.abide import Abide
from harmony.data.atlas import Atlas
from harmony.data.bias import n4
from harmony.data.bids import BidsFolder
from harmony.data.cache import VolumeCache, load_volumes
from harmony.data.corruption import (
    BroadCorruption,
    Corruption,
    CurveCorruption,
    InTurn,
)
from harmony.data.derivatives import Derivatives, single_scan
from harmony.data.dhcp import Dhcp
from harmony.data.ixi import Ixi
from harmony.data.labels import LABEL_MAPS, NEONATAL_TISSUES, STRUCTURES, map_labels
from harmony.data.manifest_csv import CsvManifest
from harmony.data.module import SliceDataModule
from harmony.data.negatives import candidate_negatives, forced_negatives
from harmony.data.nifti import Nifti, read_labels, read_nifti, write_nifti
from harmony.data.oasis3 import Oasis3
from harmony.data.preprocess import Preprocess, brain_mask
from harmony.data.progress import watched
from harmony.data.scanner_corruption import DrawnScanner, ScannerCorruption, field_scale
from harmony.data.shifts import QueryScanner, query_scanner
from harmony.data.sites import SimulatedSites
from harmony.data.travelling import on_grid_of, on_one_lattice

__all__ = [
    "LABEL_MAPS",
    "NEONATAL_TISSUES",
    "STRUCTURES",
    "Abide",
    "Atlas",
    "BidsFolder",
    "BroadCorruption",
    "Corruption",
    "CsvManifest",
    "CurveCorruption",
    "Derivatives",
    "Dhcp",
    "DrawnScanner",
    "InTurn",
    "Ixi",
    "Nifti",
    "Oasis3",
    "Preprocess",
    "QueryScanner",
    "ScannerCorruption",
    "SimulatedSites",
    "SliceDataModule",
    "VolumeCache",
    "brain_mask",
    "candidate_negatives",
    "field_scale",
    "forced_negatives",
    "load_volumes",
    "map_labels",
    "n4",
    "on_grid_of",
    "on_one_lattice",
    "query_scanner",
    "read_labels",
    "read_nifti",
    "single_scan",
    "watched",
    "write_nifti",
]
