"""What the models that are installed with harmony can do, from their manifests alone."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "models"


def served_methods(package: Path = PACKAGE) -> set[str]:
    """The methods that find all their networks in one of the packed models; a file that is none serves nothing."""
    served: set[str] = set()
    for path in package.glob("*.harmony"):
        try:
            with zipfile.ZipFile(path) as archive:
                served |= set(json.loads(archive.read("manifest.json"))["methods"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile):
            continue
    return served
