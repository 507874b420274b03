"""The tiny experiment that is damaged and killed: commands of harmony as forked processes, on 4 mm atlas subjects."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from harmony import evaluate, harmonize, train

MAINS = {"train": train.main, "evaluate": evaluate.main, "harmonize": harmonize.main}
SHORT = {"max_steps": 2, "val_every": 2, "batch_size": 8}
TINY = [
    "experiment=quickstart", "logger=csv", "methods=[none,histogram_matching]", "evaluation.judges=[]",
    "tasks.flow.max_steps=12", "tasks.flow.val_every=2", "tasks.flow.batch_size=4", "data.source.subjects=10",
    "data.source.resolution=4", "data.preprocess.spacing=4.0", "data.preprocess.size=[40,48]", "data.count=4",
    "flow.steps=1", "flow.hidden_channels=8", "evaluation.subjects=2", "data.query=[exp,mix]",
    "tasks.harmonizer.network.widths=[4,4,4]", "tasks.segmenter.network.widths=[4,8]",
    *(f"tasks.{stage}.{key}={value}" for stage in ("harmonizer", "segmenter") for key, value in SHORT.items()),
    "method.harmonizing_flows.stop.passes=2",
]  # fmt: skip
EVERYTHING = [
    *TINY, "stages=[flow,harmonizer,segmenter,evaluate]", "evaluation.judges=[segmentation,combat]",
    "methods=[none,histogram_matching,harmonizing_flows]",
]  # fmt: skip


def compose_once(folder: Path) -> None:
    """Keep every composed config below `folder`, for all processes to come: composing is most of a tiny command."""
    compose = ConfigLoaderImpl._load_configuration_impl
    folder.mkdir(exist_ok=True)

    def kept(self: ConfigLoaderImpl, *args: Any, **words: Any) -> object:
        path = folder / hashlib.sha256(repr((args, sorted(words.items()))).encode()).hexdigest()
        if not path.exists():
            half = Path(f"{path}-{os.getpid()}")
            half.write_bytes(pickle.dumps(compose(self, *args, **words)))
            half.rename(path)
        return pickle.loads(path.read_bytes())

    ConfigLoaderImpl._load_configuration_impl = kept  # type: ignore[method-assign, assignment]


@dataclass
class Command:
    """name: train, evaluate, harmonize or sweep. words: of the command. result: folder -> digest of what it made."""

    name: str
    words: list[str]
    result: Callable[[Path], str]

    def start(self, folder: Path, before: Callable[[], None] = lambda: None) -> int:
        """The process id of the command, running in `folder`; its output goes into `output.txt` there."""
        folder.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        module = "train" if self.name == "sweep" else self.name
        sys.argv = [module, *self.words]
        code = 1
        try:
            before()
            MAINS[module]()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:  # what Python would print at the end of a process
            import traceback

            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def run(self, folder: Path) -> int:
        return ended(self.start(folder))


def ended(child: int) -> int:
    """Its exit code; -n where signal n ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def signal_later(child: int, signum: signal.Signals, seconds: float) -> int:
    """Let it live for so long, or to its end. The exit code."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signum)
    return ended(child)


def signal_in_the_kth_write(signum: signal.Signals, k: int) -> Callable[[], None]:
    """For `Command.start`: between the writing of the k-th file and its renaming."""

    def before() -> None:
        replace, count = Path.replace, [0]

        def killing(self: Path, target: Path) -> Path:
            count[0] += 1
            if count[0] == k:
                os.kill(os.getpid(), signum)
            return replace(self, target)

        Path.replace = killing  # type: ignore[method-assign, assignment]

    return before


def bytes_of(folder: Path, patterns: Sequence[str]) -> str:
    """A digest of the files' names and bytes."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    whole = hashlib.sha256()
    for path in found:
        whole.update(f"{path.relative_to(folder)} ".encode() + path.read_bytes())
    return f"{len(found)} files {whole.hexdigest()[:16]}"


def models(folder: Path) -> str:
    return bytes_of(folder, ["runs/models/*/*.safetensors"])


def evaluation(folder: Path) -> str:
    """All but how long it took."""
    kept = ["adaptation/*.json", "panels/**/*.png", "traces/**/*.json", "histograms/**/*.csv"]
    files = bytes_of(folder, [f"runs/quickstart/seed*/{each}" for each in kept])
    tables = sorted(folder.glob("runs/quickstart/seed*/results.csv"))
    rows = [line for path in tables for line in path.read_text().splitlines() if ",seconds," not in line]
    return f"{files}, {len(rows)} rows {hashlib.sha256(str(rows).encode()).hexdigest()[:16]}"


def harmonized(folder: Path) -> str:
    """Voxels, and the sidecars but for the seconds and their digests."""
    about = []
    for path in sorted(folder.glob("out/sub-*/anat/*.json")):
        said = json.loads(path.read_text())
        about.append({key: said[key] for key in said if key not in ("Seconds", "digest")})
    words = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return f"{bytes_of(folder, ['out/sub-*/anat/*.nii.gz'])}, {len(about)} sidecars {words}"


def scans_of_somebody(cache: Path, root: Path, count: int = 3) -> Path:
    """Atlas subjects as a BIDS folder; the last one's image is not compressed."""
    source = next((cache / "atlas").glob("atlas-*-4mm-*"))
    for k in range(count):
        folder = root / f"sub-{k:04d}" / "anat"
        folder.mkdir(parents=True)
        image = nibabel.load(next((source / f"sub-{k:04d}" / "anat").glob("*_T1w.nii.gz")))
        ending = ".nii" if k == count - 1 else ".nii.gz"
        made = nibabel.Nifti1Image(np.asarray(image.dataobj, np.float32), image.affine)
        nibabel.save(made, folder / f"sub-{k:04d}_T1w{ending}")
    return root
