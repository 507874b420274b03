"""Brain masks for whole heads: by deepbet, which comes with harmony, or by name with SynthStrip or HD-BET."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from scipy import ndimage

from harmony.core import ConfigError, DataError, Scan
from harmony.core.files import atomic_path, write_atomic
from harmony.core.model_card import sha256
from harmony.data.volumes.brain import STRIPPED
from harmony.data.volumes.deepbet_mask import NoBrainError, deepbet_mask
from harmony.data.volumes.foreground import background_level, foreground
from harmony.data.volumes.nifti import Nifti, read_labels, read_nifti, write_nifti
from harmony.data.volumes.plausible import BRAIN_ML

AUTO = "auto"  # by deepbet, where the skull is still on
WHOLE = 0.99  # share of a mask's voxels that are in its largest part: what a program leaves beside it are specks


@dataclass(frozen=True)
class Tool:
    """find: (X, Y, Z) bool of an image, or NoBrainError, or a `ToolError` with what the program said."""

    program: str
    find: Callable[[Nifti], np.ndarray]
    version: Callable[[str], str]
    install: str


class ToolError(RuntimeError):
    """A program that could not do its work; its last words."""


@dataclass(frozen=True)
class BrainMask:
    """A mask that was made: what it was made from (SHA-256 of the image) and with."""

    path: Path
    image: str
    tool: str
    version: str


def find_tool(name: str = AUTO) -> Tool:
    """The tool of a name; of `auto` deepbet. Raises ConfigError, which says what to install, where it is not there."""
    tool = TOOLS["deepbet" if name == AUTO else name]
    if tool.program != "deepbet" and not shutil.which(tool.program):
        raise ConfigError(f"mask={name}: {tool.program} is not installed -> {tool.install}, or mask={AUTO}")
    return tool


def may_find(mask: str | None) -> Tool | None:
    """The tool that `mask=` may need: of `auto` or of a name; None for a file, a pattern or nothing."""
    return find_tool(mask) if mask == AUTO or mask in TOOLS else None


def tool_for(mask: str | None, scan: Scan, native: Nifti) -> Tool | None:
    """What finds the brain of this scan: the tool named; of `auto` deepbet, for a head with its skull on. None where no
    mask is to be found."""
    if scan.mask is not None or (mask == AUTO and not whole_head(native)):
        return None
    return may_find(mask)


def with_brain(scan: Scan, path: Path, mask: str | None, native: Nifti) -> tuple[Scan, BrainMask | None]:
    """The scan with a brain mask at `path`, where `mask=` asks for one or the skull is still on; it is said.
    Raises DataError as `brain_mask_of`."""
    tool = tool_for(mask, scan, native)
    if tool is None:
        return scan, None
    brain = brain_mask_of(scan, path, tool)
    print(f"  {scan.name}: brain found by {brain.tool} {brain.version}", flush=True)
    return replace(scan, mask=brain.path), brain


def whole_head(native: Nifti) -> bool:
    """Whether the skull is still on: the background is not 0, or more is above 0 than the largest brains have."""
    above = foreground(native.data, background_level(native.data)).inside
    return bool(above.mean() > STRIPPED or millilitres(above, native) > BRAIN_ML[1])


def brain_mask_of(scan: Scan, path: Path, tool: Tool) -> BrainMask:
    """The brain mask of a scan, written to `path` (.nii.gz) with a sidecar; one that is there, of the same image and by
    the same tool, is kept.

    Raises DataError for an image that cannot be read, where the tool fails, and for a mask that cannot be a brain: its
    volume, or more than one piece.
    """
    native = read_nifti(scan.path, subject=scan.subject)
    wanted = BrainMask(path, sha256(scan.path), tool.program, tool.version(tool.program))
    if _sidecar(path).exists() and path.exists() and _about(path) == _plain(wanted):
        return wanted
    try:
        inside = tool.find(native)
    except NoBrainError:
        inside = np.zeros(native.data.shape, bool)
    except ToolError as error:
        raise _bad(scan, f"{tool.program} failed ({error})") from error
    if problem := unlike_a_brain(inside, native):
        raise _bad(scan, f"{tool.program} found {problem}")
    inside = foreground(inside, 0.0).inside
    with atomic_path(path) as half:
        write_nifti(half, inside, native)
    write_atomic(_sidecar(path), json.dumps(_plain(wanted), indent=2) + "\n")
    return wanted


def unlike_a_brain(inside: np.ndarray, native: Nifti) -> str | None:
    """What a mask has that no brain's has, in words; None where there is nothing."""
    if not inside.any():
        return "no brain"
    parts, _ = ndimage.label(inside)
    sizes = np.sort(np.bincount(parts.ravel())[1:])[::-1]
    if sizes[0] < WHOLE * sizes.sum():
        largest = ", ".join(f"{100 * size / sizes.sum():.0f} %" for size in sizes[:3])
        return f"a brain in {len(sizes)} pieces ({largest}{', ...' if len(sizes) > 3 else ''})"
    volume = millilitres(inside, native)
    if not BRAIN_ML[0] <= volume <= BRAIN_ML[1]:
        return f"a brain of {volume:.0f} ml ({BRAIN_ML[0]:g} to {BRAIN_ML[1]:g})"
    return None


def millilitres(inside: np.ndarray, native: Nifti) -> float:
    """The volume of a (X, Y, Z) bool mask."""
    return float(np.count_nonzero(inside) * abs(np.linalg.det(native.affine[:3, :3])) / 1000)


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
    cure = "look at the scan; give a brain mask (mask=), or have another program find it (mask=synthstrip)"
    return DataError(problem, cure=cure, path=scan.path, subject=scan.subject)


def _by_program(command: Callable[[Path, Path], list[str]], mask: str) -> Callable[[Nifti], np.ndarray]:
    """command: input (.nii.gz), a folder to write to -> the words. mask: the file in that folder that they leave."""

    def find(native: Nifti) -> np.ndarray:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            image = folder / "image.nii.gz"  # a copy: whatever the scan's name and kind are, both programs read it
            write_nifti(image, native.data, native)
            finished = subprocess.run(command(image, folder), capture_output=True, text=True, check=False)
            if finished.returncode or not (folder / mask).exists():
                words = finished.stderr.strip() or finished.stdout.strip() or "no mask was written"
                raise ToolError(words.splitlines()[-1])
            return read_labels(folder / mask, native, image.name) > 0

    return find


def _freesurfer(program: str) -> str:
    """SynthStrip has no version of its own: FreeSurfer's, which stands beside its programs."""
    stamp = Path(shutil.which(program) or "").resolve().parents[1] / "build-stamp.txt"
    digits = re.search(r"\d+\.\d+\.\d+\S*", stamp.read_text(encoding="utf-8")) if stamp.exists() else None
    return digits[0] if digits else "unknown"


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


TOOLS = {
    "deepbet": Tool("deepbet", deepbet_mask, _installed, "pip install deepbet==1.0.2"),
    "synthstrip": Tool(
        "mri_synthstrip", _by_program(_synthstrip, "mask.nii.gz"), _freesurfer, "install FreeSurfer's mri_synthstrip"
    ),
    "hd-bet": Tool("hd-bet", _by_program(_hd_bet, "brain_bet.nii.gz"), _installed, "pip install hd-bet"),
}
