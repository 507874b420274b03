"""Harmonizing from Python: `harmony.load("ixi-hh").harmonize(image)`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import harmony
from harmony.core import ConfigError
from harmony.core.best import best_of
from harmony.core.models import resolve_model
from harmony.data import read_nifti, single_scan
from harmony.data.volumes.brain_extraction import AUTO
from harmony.delivery.applied import Applied
from harmony.delivery.loading import Wanted
from harmony.delivery.request import Request
from harmony.delivery.single_file import SingleFile
from harmony.delivery.worker import Worker

OF_FILES = ("Sources", "BrainMask", "MadeFrom", "ImageDigest", "digest")  # of a sidecar: there are none here


class HarmonizedImage(NamedTuple):
    """image: as the scan's, of its class. report: what a sidecar says, see docs/data/README.md."""

    image: Any
    report: dict[str, Any]


@dataclass(frozen=True)
class Harmonizer:
    """A model with a method, ready for scans."""

    applied: Applied
    method: str
    settings: dict[str, Any]

    def harmonize(self, image: Any, mask: Any = None, *, original_scale: bool = True) -> HarmonizedImage:
        """The scan in the domain of the reference, on its own grid, as float32; the same as `harmony harmonize`.

        image, mask: NIfTI images of nibabel; without a mask the brain is what is not background, or what deepbet finds
        where the skull is still on. original_scale: in the scan's own unit; else 1 is the reference's robust maximum.
        Raises DataError for a scan that cannot be used.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            scan = single_scan(_saved(image, folder / "scan.nii"), mask and _saved(mask, folder / "mask.nii"))
            output = SingleFile(folder / "harmonized.nii")
            request = Request(
                [scan.path], output.path, self.method, self.settings, mask=AUTO, original_scale=original_scale
            )
            with contextlib.redirect_stdout(io.StringIO()):
                Worker(request, self.applied, output).one(scan)
            native = read_nifti(output.path, subject=scan.subject)
            report = json.loads(output.sidecar(scan).read_text(encoding="utf-8"))
        made = type(image)(native.data, image.affine, native.header)
        return HarmonizedImage(made, {key: value for key, value in report.items() if key not in OF_FILES})


def load(model: str | None = None, *, method: str | None = None) -> Harmonizer:
    """A model and a method, without a config.

    model: a packed file, a run folder, or a name of `harmony models`; None: the one that is installed. method: a name
    of conf/method; None: the best that the model serves. Raises CheckpointError or ConfigError.
    """
    runs, cache = (Path(os.environ.get(*pair)).expanduser() for pair in _PLACES)
    folders = resolve_model(model, runs=runs, cache=cache)
    name = method or best_of(method_settings, folders.stages)
    node = method_settings(name)
    wanted = Wanted(folders.name, folders.home, folders.stages, name, node)
    return Harmonizer(wanted.load(), name, node)


def method_settings(name: str) -> dict[str, Any]:
    """The config of a method that builds on no other. Raises ConfigError for another."""
    package = Path(harmony.__file__).parent
    path = next(conf for conf in (package / "conf", package.parents[1] / "conf") if conf.exists()) / "method"
    there = sorted(each.stem for each in path.glob("*.yaml"))
    if name not in there:
        raise ConfigError(f"method={name}: there are {', '.join(there)}")
    node: dict[str, Any] = yaml.safe_load((path / f"{name}.yaml").read_text(encoding="utf-8"))
    usual = yaml.safe_load((path.parent / "harmonize.yaml").read_text(encoding="utf-8"))
    node = {key: usual.get(value[2:-1], value) if str(value).startswith("${") else value for key, value in node.items()}
    if "defaults" in node or "${" in json.dumps({key: value for key, value in node.items() if key != "says"}):
        raise ConfigError(f"method={name}: put together from several configs -> use the command, harmony harmonize")
    return node


_PLACES = (("HARMONY_RUNS", "runs"), ("HARMONY_CACHE", "~/.cache/harmony"))


def _saved(image: Any, path: Path) -> Path:
    image.to_filename(path)
    return path
