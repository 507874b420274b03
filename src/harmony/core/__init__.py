"""The project's words."""

from harmony.core.errors import CheckpointError, ConfigError, DamagedError, DataError, HarmonyError
from harmony.core.manifest import Scan, Source, split_by_subject
from harmony.core.results import REFERENCE, Row, read_rows, write_rows
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
    "Row",
    "Scan",
    "Source",
    "Stack",
    "Volume",
    "read_rows",
    "split_by_subject",
    "write_rows",
]
