"""Which model is meant: a file that was passed on, a run folder, a name of either, or the only one there is."""

from __future__ import annotations

import atexit
import difflib
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harmony.core.errors import CheckpointError, StorageError
from harmony.core.packed_model import FLOW, SUFFIX, read_manifest, unpack

log = logging.getLogger(__name__)
CACHE = "HARMONY_CACHE"
PACKAGE = Path(__file__).parents[1] / "models"  # what is installed with harmony
TRAIN = "train one (harmony train), or give one: model=FILE.harmony or model=runs/models/flow-..."


@dataclass(frozen=True)
class ModelFolders:
    """The run folders of a model, by stage. home: of the flow, or of what else has the reference's statistics: its card
    is the model's. licence, origin: of the reference's scans, where a packed model says so."""

    name: str
    home: Path
    stages: Mapping[str, Path] = field(default_factory=dict)
    licence: str = ""
    origin: str = ""

    def of(self, stage: str) -> Path | None:
        return self.stages.get(stage)


def resolve_model(given: str | None, *, runs: Path, cache: Path, package: Path = PACKAGE) -> ModelFolders:
    """The folders of a model: a packed file is unpacked below `cache`.

    given: a path, a name of `named_models`, or None for the only packed model of the package. Raises CheckpointError.
    """
    path = _chosen(package) if given is None else _found(given, runs, package)
    if path.is_dir():
        return ModelFolders(path.resolve().name, path, {FLOW: path})
    stages, manifest = _unpacked(path, cache / "models"), read_manifest(path)
    return ModelFolders(manifest.name, stages[manifest.home], stages, manifest.licence, manifest.scans)


def named_models(runs: Path, package: Path = PACKAGE) -> dict[str, Path]:
    """Name -> packed file of the package, or run folder of a trained flow below `runs`/models."""
    packed = {path.stem: path for path in sorted(package.glob(f"*{SUFFIX}"))}
    trained = {path.name: path for path in sorted((runs / "models").glob("flow-*")) if (path / "DONE").exists()}
    return trained | packed


def _chosen(package: Path) -> Path:
    packed = sorted(package.glob(f"*{SUFFIX}"))
    if len(packed) == 1:
        return packed[0]
    if not packed:
        raise CheckpointError(f"no model is installed with harmony -> {TRAIN}")
    names = ", ".join(path.stem for path in packed)
    raise CheckpointError(f"several models are installed -> choose one with model=: {names}")


def _unpacked(path: Path, cache: Path) -> dict[str, Path]:
    """Where the cache cannot be written to, in a folder that is gone when the program ends."""
    try:
        return unpack(path, cache)
    except (OSError, StorageError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        log.warning("%s: cannot be written to (%s), going on without; %s= names another folder", cache, reason, CACHE)
        folder = tempfile.mkdtemp(prefix="harmony-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return unpack(path, Path(folder))


def _found(given: str, runs: Path, package: Path) -> Path:
    path = Path(given).expanduser()
    if path.exists():
        return path
    names = named_models(runs, package)
    if given in names:
        return names[given]
    near = difflib.get_close_matches(given, names, n=1)
    listed = f"; there are {', '.join(names)}" if names else ""
    meant = f"did you mean {near[0]}?" if near else TRAIN
    raise CheckpointError(f"model={given}: no such file, folder or name{listed} -> {meant}")
