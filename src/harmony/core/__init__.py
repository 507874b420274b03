"""The project's words."""

from harmony.core.errors import CheckpointError, ConfigError, DamagedError, DataError, HarmonyError, StorageError
from harmony.core.manifest import Scan, Source, of_subjects, split_by_subject
from harmony.core.report import NamedReport, Report, Steps
from harmony.core.results import REFERENCE, Row, by_subject, read_rows, write_rows
from harmony.core.stack import Harmonized, Stack
from harmony.core.volume import Volume

__all__ = [
    "REFERENCE",
    "CheckpointError",
    "ConfigError",
    "DamagedError",
    "DataError",
    "Harmonized",
    "HarmonyError",
    "NamedReport",
    "Report",
    "Row",
    "Scan",
    "Source",
    "Stack",
    "Steps",
    "StorageError",
    "Volume",
    "by_subject",
    "of_subjects",
    "read_rows",
    "split_by_subject",
    "write_rows",
]
