"""harmony doctor: what is installed, how much room there is, and what is wrong with it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from harmony import __version__
from harmony.cli.commands import COMMANDS
from harmony.cli.mistakes import Parser

DISTRIBUTION = "harmony-mri"
BAD = {  # a package -> (what is wrong with them, the versions); each floor of pyproject.toml has its reason there
    "lightning": ("malicious uploads", ("2.6.2", "2.6.3")),
    "pytorch-lightning": ("malicious uploads", ("2.6.2", "2.6.3")),
}
WHY = {"torch": "two CVEs in weights_only loading below it"}
PYTHON = (3, 11)
LITTLE_GB = 5  # a cohort of a hundred scans at 1 mm with its cache
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "firefox")


@dataclass(frozen=True)
class Finding:
    """state: ok, note (something that a setting would use is not there) or wrong. cure: for what is not ok."""

    name: str
    value: str
    state: str = "ok"
    cure: str = ""


def doctor(words: list[str]) -> int:
    """Print the findings. Exit code 1 where one is wrong."""
    parser = Parser("harmony doctor", COMMANDS["doctor"].page())
    parser.add_argument("--json", action="store_true", help="everything as JSON, for machines")
    machine = parser.parse_args(words).json
    found = findings()
    wrong = [each for each in found if each.state == "wrong"]
    if machine:
        print(json.dumps({"ok": not wrong, "findings": [asdict(each) for each in found]}, indent=2))
        return 1 if wrong else 0
    wide = max(len(each.name) for each in found)
    for each in found:
        print(f"{each.state:5}  {each.name:{wide}}  {each.value}" + (f" -> {each.cure}" if each.cure else ""))
    print(f"{len(wrong)} wrong" if wrong else "all that harmony needs is here")
    return 1 if wrong else 0


def findings() -> list[Finding]:
    """Everything, in the order of the page. Nothing is written but a file that is taken away again."""
    return [
        Finding("harmony", __version__),
        _python(),
        *packages(),
        _machine(),
        _gpu(),
        *(_room(name, path) for name, path in _places()),
        _cache(),
        Finding(
            "W&B", "online: WANDB_API_KEY is set" if os.environ.get("WANDB_API_KEY") else "offline: no WANDB_API_KEY"
        ),
        _optional("SimpleITK", _installed("SimpleITK"), "for n4", "pip install 'harmony-mri[n4]'"),
        _optional("SynthStrip", shutil.which("mri_synthstrip"), "for mask=synthstrip", "install FreeSurfer"),
        _optional("HD-BET", shutil.which("hd-bet"), "for mask=hd-bet", "pip install hd-bet"),
        _optional("browser", _browser(), "to look at the pages here", "any browser, here or elsewhere"),
    ]


def packages(needs: list[str] | None = None, installed: Callable[[str], str | None] | None = None) -> Iterator[Finding]:
    """What harmony needs: absent, older than its floor, newer than its ceiling, or a version that must not be used."""
    installed = installed or _installed
    for line in _needs() if needs is None else needs:
        need = Requirement(line)
        name, found = need.name, installed(need.name)
        if found is None:
            yield Finding(name, "not installed", "wrong", f"pip install '{line}'")
        elif name in BAD and found in BAD[name][1]:
            cure = f"uninstall it, change this machine's secrets, then pip install '{line}'"
            yield Finding(name, f"{found}: {BAD[name][0]}", "wrong", cure)
        elif not need.specifier.contains(found, prereleases=True):
            why = f" ({WHY[name]})" if name in WHY else ""
            yield Finding(name, f"{found}, needed {need.specifier}{why}", "wrong", f"pip install '{line}'")
        else:
            yield Finding(name, found)
    other = installed("pytorch-lightning")
    if other in BAD["pytorch-lightning"][1]:
        yield Finding("pytorch-lightning", f"{other}: malicious uploads", "wrong", "pip uninstall pytorch-lightning")


def _needs() -> list[str]:
    """The requirements of the installed package, without those of its extras and of other machines."""
    try:
        lines = requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # a checkout on the path, not installed
        return []
    markers = {line: Requirement(line).marker for line in lines}
    return [
        line.split(";")[0].strip() for line, only in markers.items() if only is None or only.evaluate({"extra": ""})
    ]


def _python() -> Finding:
    found = platform.python_version()
    if sys.version_info < PYTHON:
        return Finding("Python", found, "wrong", f"Python {PYTHON[0]}.{PYTHON[1]} or newer")
    return Finding("Python", found)


def _machine() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("machine", f"{platform.system()} {platform.machine()}, {cores} cores")


def _gpu() -> Finding:
    try:
        import torch

        names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    except Exception as error:  # a broken installation raises many kinds
        return Finding(
            "GPU", f"torch cannot be imported ({type(error).__name__}: {error})", "wrong", "install it again"
        )
    return (
        Finding("GPU", ", ".join(names)) if names else Finding("GPU", "none: everything runs on the processor", "note")
    )


def _places() -> list[tuple[str, Path]]:
    runs = Path(os.environ.get("HARMONY_RUNS", "runs")).expanduser()
    return [("runs", runs), ("cache", _cache_folder())]


def _cache_folder() -> Path:
    return Path(os.environ.get("HARMONY_CACHE", "~/.cache/harmony")).expanduser()


def _room(name: str, folder: Path) -> Finding:
    """Free disk, and whether one may write there; a folder that is not there yet: of the one that will hold it."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free / 1e9
    if not there.is_dir() or not os.access(there, os.W_OK):
        cure = f"HARMONY_{name.upper()}= a folder that you may write to"
        return Finding(f"{name} folder", f"{folder}: cannot be written", "wrong", cure)
    low = free < LITTLE_GB
    cure = f"make room, or HARMONY_{name.upper()}= on another disk" if low else ""
    return Finding(f"{name} folder", f"{folder}, {free:.0f} GB free", "note" if low else "ok", cure)


def _cache() -> Finding:
    folder = _cache_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9 if folder.is_dir() else 0.0
    return Finding("cache size", f"{size:.1f} GB; it may be deleted, and is made again")


def _optional(name: str, found: str | None, use: str, cure: str) -> Finding:
    return Finding(name, found) if found else Finding(name, f"not here ({use})", "note", cure)


def _browser() -> str | None:
    return next((found for found in map(shutil.which, BROWSERS) if found), None)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
