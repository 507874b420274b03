"""What a trained network needs to be used elsewhere: the constants of its preprocessing, and where it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harmony.core.contrasts import T1W
from harmony.core.errors import CheckpointError
from harmony.core.files import write_atomic

NAME = "model_card.json"


@dataclass(frozen=True)
class ModelCard:
    """Travels in the run folder as model_card.json.

    preprocess: every constant that decides the voxels a network sees; applying the network uses these, whatever the
    new data set's own settings. reference: scanners, sites and number of subjects of the training scans.
    weights: SHA-256 of model.safetensors. contrast: of the training scans; a card that is older than the field: T1w.
    """

    name: str
    version: str
    preprocess: dict[str, Any]
    reference: dict[str, Any]
    score: dict[str, Any]
    weights: str
    contrast: str = T1W

    def save(self, run: Path) -> None:
        write_atomic(run / NAME, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, run: Path) -> ModelCard:
        """Raises CheckpointError where the run has no card, or weights other than the card's."""
        try:
            card = cls(**json.loads((run / NAME).read_text(encoding="utf-8")))
            weights = sha256(run / "model.safetensors")
        except (OSError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{run}: not a finished training with {NAME} and model.safetensors ({error}) -> "
                "give its run folder: model=runs/models/flow-..."
            ) from error
        if weights != card.weights:
            raise CheckpointError(f"{run / 'model.safetensors'}: not the weights of its model card -> copy it again")
        return card


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def domain(scans: list[Any]) -> Mapping[str, Any]:
    """Who the training scans are, without naming anybody."""
    ages = [scan.age for scan in scans if scan.age is not None]
    return {
        "subjects": len({scan.subject for scan in scans}),
        "scanners": sorted({scan.scanner for scan in scans if scan.scanner}),
        "sites": sorted({scan.site for scan in scans if scan.site}),
        **({"ages": [min(ages), max(ages)]} if ages else {}),
    }
