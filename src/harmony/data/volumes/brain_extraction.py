"""Brain masks of other programs, where one is installed: SynthStrip, HD-BET."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harmony.core import ConfigError, DataError, Scan
from harmony.core.files import atomic_path, write_atomic
from harmony.core.model_card import sha256
from harmony.data.volumes.nifti import read_labels, read_nifti, write_nifti

AUTO = "auto"
NONE_THERE = (
    "mask=auto: no program that finds a brain is installed -> install SynthStrip (FreeSurfer's mri_synthstrip) or "
    "HD-BET (pip install hd-bet), or give masks with mask="
)


@dataclass(frozen=True)
class Tool:
    """command: input (.nii.gz), a folder to write to -> the words. mask: the file in that folder that they leave."""

    program: str
    command: Callable[[Path, Path], list[str]]
    mask: str
    version: Callable[[str], str]


@dataclass(frozen=True)
class BrainMask:
    """A mask that was made: what it was made from (SHA-256 of the image) and with."""

    path: Path
    image: str
    tool: str
    version: str


def find_tool() -> Tool:
    """The first of TOOLS that is installed. Raises ConfigError, which says what to install, where none is."""
    for tool in TOOLS:
        if shutil.which(tool.program):
            return tool
    raise ConfigError(NONE_THERE)


def brain_mask_of(scan: Scan, path: Path, tool: Tool) -> BrainMask:
    """The brain mask of a scan, written to `path` (.nii.gz) with a sidecar; one that is there, of the same image and by
    the same tool, is kept. Raises DataError for an image that cannot be read, or where the tool fails."""
    native = read_nifti(scan.path, subject=scan.subject)
    wanted = BrainMask(path, sha256(scan.path), tool.program, tool.version(tool.program))
    if _sidecar(path).exists() and path.exists() and _about(path) == _plain(wanted):
        return wanted
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        image = folder / "image.nii.gz"  # a copy: whatever the scan's name and kind are, both programs read it
        write_nifti(image, native.data, native)
        _run(tool, image, folder, scan)
        inside = read_labels(folder / tool.mask, native, scan.subject) > 0
    if not inside.any():
        raise _bad(scan, f"{tool.program} found no brain")
    with atomic_path(path) as half:
        write_nifti(half, inside, native)
    write_atomic(_sidecar(path), json.dumps(_plain(wanted), indent=2) + "\n")
    return wanted


def _run(tool: Tool, image: Path, folder: Path, scan: Scan) -> None:
    done = subprocess.run(tool.command(image, folder), capture_output=True, text=True, check=False)
    if done.returncode or not (folder / tool.mask).exists():
        said = (done.stderr.strip() or done.stdout.strip() or "no mask was written").splitlines()[-1]
        raise _bad(scan, f"{tool.program} failed ({said})")


def _plain(mask: BrainMask) -> dict[str, str]:
    return {key: value for key, value in asdict(mask).items() if key != "path"}


def _about(path: Path) -> object:
    try:
        return json.loads(_sidecar(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".nii.gz") + ".json")


def _bad(scan: Scan, problem: str) -> DataError:
    return DataError(problem, cure="give a brain mask: mask=", path=scan.path, subject=scan.subject)


def _freesurfer(program: str) -> str:
    """SynthStrip has no version of its own: FreeSurfer's, which stands beside its programs."""
    stamp = Path(shutil.which(program) or "").resolve().parents[1] / "build-stamp.txt"
    found = re.search(r"\d+\.\d+\.\d+\S*", stamp.read_text(encoding="utf-8")) if stamp.exists() else None
    return found[0] if found else "unknown"


def _installed(program: str) -> str:
    try:
        return version(program)
    except PackageNotFoundError:  # in an environment of its own
        return "unknown"


def _synthstrip(image: Path, folder: Path) -> list[str]:
    return ["mri_synthstrip", "-i", str(image), "-m", str(folder / "mask.nii.gz")]


def _hd_bet(image: Path, folder: Path) -> list[str]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    words = ["hd-bet", "-i", str(image), "-o", str(folder / "brain.nii.gz"), "-device", device]
    return [*words, "--save_bet_mask", "--no_bet_image", *(["--disable_tta"] if device == "cpu" else [])]


TOOLS = (
    Tool("mri_synthstrip", _synthstrip, "mask.nii.gz", _freesurfer),
    Tool("hd-bet", _hd_bet, "brain_bet.nii.gz", _installed),
)
