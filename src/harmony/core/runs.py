"""A run's folder: what was asked, on what machine, how it ended."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from harmony.core.digests import damaged_contents, intact_document, read_sealed, write_contents, write_sealed
from harmony.core.errors import DamagedError, DataError
from harmony.core.files import remove_leftovers, write_atomic

_PACKAGES = ("harmony-mri", "torch", "lightning", "nflows", "monai", "hydra-core", "numpy", "nibabel", "wandb")
_SHORTEST_GZIP = 18  # bytes: header and trailer


WORDS = ("says", "cites")  # what a config says of itself to a reader: never built, and no part of what a run is


def without_words(settings: Any) -> Any:
    """The (JSON-like) settings without these keys, however deep."""
    if isinstance(settings, Mapping):
        return {key: without_words(value) for key, value in settings.items() if key not in WORDS}
    return [without_words(value) for value in settings] if isinstance(settings, list | tuple) else settings


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that change when anything in the (JSON-like) settings does, but for words."""
    canonical = json.dumps(without_words(settings), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def content_key(path: Path) -> str:
    """Changes with a file's content, not with its place: a gzip stream ends with its content's checksum and size.

    Raises DataError for a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if file.read(2) == b"\x1f\x8b" and size >= _SHORTEST_GZIP:
                file.seek(-8, os.SEEK_END)
                return file.read().hex()
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", cure="check the file and its rights", path=path
        ) from error


@dataclass(frozen=True)
class RunFolder:
    """One folder per configuration: a finished one is reused, an interrupted one goes on."""

    path: Path

    @property
    def done(self) -> bool:
        return (self.path / "DONE").exists()

    def begin(self, config: str) -> None:
        """Write the resolved config (YAML) and the environment; clear a former interruption, and what it left."""
        remove_leftovers(self.path)
        write_atomic(self.path / "config.yaml", config)
        write_atomic(self.path / "environment.json", json.dumps(environment(), indent=2) + "\n")
        (self.path / "INTERRUPTED").unlink(missing_ok=True)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the digests of what is there, summary.json, then the DONE marker."""
        write_contents(self.path)
        write_sealed(self.path / "summary.json", summary)
        write_atomic(self.path / "DONE", "")

    def interrupt(self) -> None:
        write_atomic(self.path / "INTERRUPTED", "")

    def reusable(self) -> bool:
        """Whether the run is finished and whole. What is damaged is named, and is to be made again: the run is then no
        longer done. Its parts are kept where only what is made of them is damaged."""
        if not self.done:
            return False
        damaged = damaged_contents(self.path)
        if not intact_document(self.path / "summary.json"):
            damaged.append("summary.json")
        if not damaged:
            return True
        print(f"{self.path}: damaged, and made again: {', '.join(damaged)}", flush=True)
        (self.path / "DONE").unlink()
        if not set(damaged) <= {"results.csv", "results.csv.sha256", "summary.json", "config.yaml", "environment.json"}:
            shutil.rmtree(self.path / "parts", ignore_errors=True)
        return False

    def summary(self) -> dict[str, Any]:
        """Raises DamagedError where it is missing, or not what was written."""
        if self.done and not (self.path / "summary.json").exists():
            raise DamagedError(self.path / "summary.json", "missing")
        return read_sealed(self.path / "summary.json")


def parts_of(user: Mapping[str, Any]) -> list[str]:
    """What a method's or judge's config names under `models`, its steps' included: the network of a stage (`tissue`),
    or what the stage learned beside it (`tissue/prior`)."""
    own = [part for part in user.get("models", {}).values() if part is not None]
    return [*own, *(part for step in user.get("steps", {}).values() for part in parts_of(step))]


def stages_of(user: Mapping[str, Any]) -> list[str]:
    """The stages that these parts are of."""
    return [part.partition("/")[0] for part in parts_of(user)]


def environment() -> dict[str, Any]:
    """Versions and hardware, for the record. No user or host names."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    hardware = {"cpu": _cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu}
    return {"python": platform.python_version(), "system": platform.system(), **hardware, "packages": packages}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
