"""What a trained network needs to be used elsewhere: the constants of its preprocessing, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harmony.core.contrasts import T1W
from harmony.core.digests import read_sealed, sha256, write_sealed
from harmony.core.errors import CheckpointError, DamagedError

NAME = "model_card.json"
WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
GIVE = "give its run folder: model=runs/models/flow-..."


@dataclass(frozen=True)
class ModelCard:
    """Travels in the run folder as model_card.json, sealed: a changed value is noticed.

    preprocess: every constant that decides the voxels a network sees; applying the network uses these, whatever the
    new data set's own settings. reference: scanners, sites and number of subjects of the training scans.
    weights: SHA-256 of model.safetensors. files: name -> SHA-256 of what else of the folder decides a result: the
    config, and what the training learned beside the weights (`reference`, `prior`); a card of an older version has
    none. contrast: of the training scans; a card that is older than the field: T1w. count, step:
    which slices of a scan the data gave (`Volume.select`); a card that is older than the fields: all.
    """

    name: str
    version: str
    preprocess: dict[str, Any]
    reference: dict[str, Any]
    score: dict[str, Any]
    weights: str
    files: dict[str, str] = field(default_factory=dict)
    contrast: str = T1W
    count: int | None = None
    step: int = 1

    def save(self, run: Path) -> None:
        """Write the card, with the digests of the files that are there."""
        beside = [path.name for path in sorted(run.glob("*.safetensors")) if path.name != WEIGHTS]
        there = {name: sha256(run / name) for name in (*beside, CONFIG) if (run / name).exists()}
        write_sealed(run / NAME, asdict(replace(self, files=there)))

    @classmethod
    def load(cls, run: Path) -> ModelCard:
        """Raises CheckpointError where the run has no card, or a file other than the card says."""
        try:
            card = cls(**read_sealed(run / NAME))
            found = {name: sha256(run / name) for name in (WEIGHTS, *card.files)}
        except DamagedError as error:
            raise CheckpointError(f"{error}; {GIVE}") from error
        except (OSError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{run}: not a finished training with {NAME} and {WEIGHTS} ({error}) -> {GIVE}"
            ) from error
        if found[WEIGHTS] != card.weights:
            raise CheckpointError(f"{run / WEIGHTS}: not the weights of its model card -> copy it again")
        changed = [name for name, digest in card.files.items() if found[name] != digest]
        if changed:
            raise CheckpointError(f"{run / changed[0]}: not the file of its model card -> copy it again")
        return card

    @classmethod
    def verify(cls, run: Path) -> None:
        """As `load`, for a folder that may be without a card (its training is then vouched for by DONE alone)."""
        if (run / NAME).exists():
            cls.load(run)


def domain(scans: list[Any]) -> Mapping[str, Any]:
    """Who the training scans are, without naming anybody."""
    ages = [scan.age for scan in scans if scan.age is not None]
    return {
        "subjects": len({scan.subject for scan in scans}),
        "scanners": sorted({scan.scanner for scan in scans if scan.scanner}),
        "sites": sorted({scan.site for scan in scans if scan.site}),
        **({"ages": [min(ages), max(ages)]} if ages else {}),
    }
