"""Flip single bits of every kind of file that harmony reads, cut files short, and look what a reader makes of it.

    python experiments/fault_injection/flips.py [FLIPS] [CUTS] [FOLDER]     (numbers per kind of file; a folder to keep)

A reader may refuse in one line (a HarmonyError), make the piece again, or give exactly what it gave before.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from setting import EVERYTHING, TINY, Command, harmonized, models, scans_of_somebody

from harmony import app
from harmony.analysis.runs import EvaluatedRun
from harmony.app.sweep import read_records
from harmony.core import HarmonyError, Scan
from harmony.core.checkpoints import read_checkpoint, resumable
from harmony.core.curves import read_curves
from harmony.core.model_card import ModelCard
from harmony.core.models import resolve_model
from harmony.core.packed_model import About, pack
from harmony.core.reference import Reference
from harmony.core.runs import RunFolder
from harmony.data import BidsFolder, Preprocess, VolumeCache, read_nifti
from harmony.delivery import Derivatives
from harmony.evaluation.scoring import Part

Read = Callable[[], Any]  # what a reader makes of the files as they are
Kinds = dict[str, tuple[Path, Read, bool]]  # kind of file -> one of them, its reader, whether nothing can vouch for it


def main() -> None:
    flips, cuts = (int(word) for word in [*sys.argv[1:3], *("24", "6")[len(sys.argv) - 1 :]][:2])
    random.seed(0)
    root = Path(sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp(prefix="faults-"))
    os.environ["HARMONY_CACHE"] = str(root / "cache")
    kinds = finished(root)
    rows = []
    for kind, (path, read, excepted) in kinds.items():
        outcomes = Counter(attempt(path, read, damaged) for damaged in damages(path, flips, cuts))
        rows.append((kind, outcomes, excepted))
        print(kind, dict(outcomes), flush=True)
    report(rows)
    if len(sys.argv) <= 3:
        shutil.rmtree(root)


def damages(path: Path, flips: int, cuts: int) -> list[bytes]:
    raw = path.read_bytes()
    made = []
    for at in (random.randrange(len(raw)) for _ in range(flips)):
        made.append(raw[:at] + bytes([raw[at] ^ 1 << random.randrange(8)]) + raw[at + 1 :])
    return made + [raw[: random.randrange(len(raw))] for _ in range(cuts)]


def attempt(path: Path, read: Read, damaged: bytes) -> str:
    raw = path.read_bytes()
    with contextlib.redirect_stdout(io.StringIO()):
        before, stamp = digest(read()), path.stat()
    path.write_bytes(damaged)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = read()
        outcome = "made again" if found is None else "the same" if digest(found) == before else "SILENT"
    except HarmonyError as error:
        outcome = "one line" if "\n" not in str(error) else "SEVERAL LINES"
    except Exception as error:
        outcome = f"TRACEBACK {type(error).__name__}"
        print(path.name, repr(error)[:200])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return outcome


def digest(found: Any) -> str:
    """Of tensors, arrays, paths, dataclasses and plain values."""
    return hashlib.sha256(pickle.dumps(plain(found))).hexdigest()


def plain(found: Any) -> Any:
    if isinstance(found, torch.Tensor):
        return found.numpy().tobytes()
    if isinstance(found, np.ndarray):
        return found.tobytes()
    if isinstance(found, dict):
        return [(key, plain(value)) for key, value in sorted(found.items(), key=str)]
    if isinstance(found, list | tuple):
        return [plain(value) for value in found]
    if hasattr(found, "__dataclass_fields__"):
        return [plain(getattr(found, name)) for name in found.__dataclass_fields__]
    return repr(found)


def finished(root: Path) -> Kinds:
    """Kind of file -> one of them, its reader, and whether nothing can vouch for it."""
    run, scans = root / "run", root / "scans"
    sweep = ["-m", *TINY, "stages=[flow]", "seed=1", "tasks.flow.max_steps=6"]
    for command in (Command("train", EVERYTHING, models), Command("sweep", sweep, models)):
        assert (run / "out").exists() or command.run(run) == 0, (run / "output.txt").read_text()
    if not scans.exists():
        scans_of_somebody(root / "cache", scans)
    flow = max(run.glob("runs/models/flow-*"), key=lambda path: (path / "checkpoints" / "last.ckpt").stat().st_size)
    told = [f"input={scans}", "output=out", f"model={flow}", "method=histogram_matching"]
    assert (run / "out").exists() or Command("harmonize", told, harmonized).run(run) == 0, (
        run / "output.txt"
    ).read_text()
    people = "".join(f"sub-{k:04d}\t{30 + k}\tF\n" for k in range(3))
    (scans / "participants.tsv").write_text(f"participant_id\tage\tsex\n{people}")
    packed, jobs = root / "model.harmony", next(run.glob("runs/sweeps/*"))
    pack(packed, {"flow": flow}, About("model", "CC0"), methods=["histogram_matching"])

    def unpacked() -> Any:
        return a_model(resolve_model(str(packed), runs=run, cache=root / "unpacked").home)

    return {
        **of_a_model(flow),
        **of_an_evaluation(next(run.glob("runs/quickstart/seed1-*/DONE")).parent),
        **of_the_scans(scans, root),
        **of_outputs(run / "out", scans),
        "packed model": (packed, unpacked, False),
        "record of a sweep's job": (next(jobs.glob("jobs/*.json")), lambda: read_records(jobs) or None, False),
    }


def a_model(flow: Path) -> Any:
    network = app.load_run(flow, "flow")
    card = ModelCard.load(flow)
    return network.state_dict(), Reference.load(flow / "reference.safetensors"), card.preprocess, card.score


def of_a_model(flow: Path) -> Kinds:
    names = ("model.safetensors", "reference.safetensors", "model_card.json", "config.yaml")
    found: Kinds = {f"{name} of a model": (flow / name, lambda: a_model(flow), False) for name in names}
    found["summary.json of a model"] = (flow / "summary.json", RunFolder(flow).summary, False)
    found["curves.csv"] = (flow / "curves.csv", lambda: dict(read_curves(flow / "curves.csv")), False)
    for name in ("last.ckpt", "best.ckpt"):
        found[name] = (flow / "checkpoints" / name, lambda: checkpoints(flow / "checkpoints"), False)
    return found


def checkpoints(folder: Path) -> Any:
    """What a training would go on from: all values of the last checkpoint. In a copy: damaged ones are removed."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, Path(copy) / "c")
        chosen = resumable(Path(copy) / "c" / "last.ckpt")
        return None if chosen is None or chosen.name != "last.ckpt" else read_checkpoint(chosen)


def of_an_evaluation(run: Path) -> Kinds:
    part = next((run / "parts").glob("exp-*.csv"))
    patterns = {
        "results.csv": "results.csv", "its digest": "results.csv.sha256", "config.yaml": "config.yaml",
        "environment.json": "environment.json", "summary.json": "summary.json", "contents.json": "contents.json",
        "record of an adaptation": "adaptation/*.json", "panel": "panels/*/*/*.png", "histogram": "histograms/*/*.csv",
        "figure": "figures/*.png",
    }  # fmt: skip

    def reused() -> Any:
        """What a second start does, and what a page shows."""
        folder = RunFolder(run)
        whole = folder.reusable()
        (run / "DONE").touch()
        if not whole:
            EvaluatedRun.load(run)  # refuses in one line
            return None
        read = EvaluatedRun.load(run)
        shown = sorted(path for pattern in patterns.values() for path in run.glob(pattern) if path.name not in OWN)
        return read.rows, read.config, read.summary, read.environment, [path.read_bytes() for path in shown]

    def parts() -> Any:
        kept = Part(part, keeps=True)
        return (kept.rows(), kept.kept()) if kept.done else None

    parts_kept = run / "parts"
    shutil.copytree(parts_kept, run.parent / "parts", dirs_exist_ok=True)

    def with_parts() -> Any:
        try:
            return reused()
        finally:
            shutil.copytree(run.parent / "parts", parts_kept, dirs_exist_ok=True)

    found = {f"{kind} of an evaluation": (next(run.glob(p)), with_parts, False) for kind, p in patterns.items()}
    found["part of an evaluation"] = (part, parts, False)
    found["what cohort judges keep"] = (part.with_suffix(".safetensors"), parts, False)
    return found


OWN = {"contents.json", "summary.json", "environment.json", "results.csv.sha256"}  # read as values, or not at all


def of_the_scans(scans: Path, root: Path) -> Kinds:
    packed, bare = next(scans.glob("*/anat/*.nii.gz")), next(scans.glob("*/anat/*.nii"))
    cache = VolumeCache(root / "volumes", Preprocess(spacing=4.0, axis="axial", size=(40, 48), percentile=99.5))
    cache.get(Scan(packed, "sub-a"))
    (entry,) = (root / "volumes").glob("*.safetensors")

    def nifti(path: Path) -> Any:
        image = read_nifti(path, subject="somebody")
        return image.data, image.affine

    return {
        "scan, .nii.gz": (packed, lambda: nifti(packed), False),
        "entry of the volume cache": (entry, lambda: [cache.get(Scan(packed, "sub-a")).image], False),
        "scan, .nii (no checksum)": (bare, lambda: nifti(bare), True),
        "participants.tsv (the user's)": (scans / "participants.tsv", lambda: BidsFolder(scans).scans(), True),
    }


def of_outputs(out: Path, scans: Path) -> Kinds:
    output, scan = Derivatives(out, "histogram_matching"), BidsFolder(scans).scans()[0]
    return {
        "harmonized image": (output.image(scan), lambda: output.provenance(scan), False),
        "sidecar": (output.sidecar(scan), lambda: output.provenance(scan), False),
    }


def report(rows: list[tuple[str, Counter[str], bool]]) -> None:
    """The table of the README."""
    good = ("one line", "made again", "the same")
    print("\n| file | damaged | one line | made again | the same | silent | traceback |\n|---|---|---|---|---|---|---|")
    total: Counter[str] = Counter()
    for kind, found, excepted in rows:
        bad = sum(count for outcome, count in found.items() if outcome.startswith(("TRACEBACK", "SEVERAL")))
        silent = f"({found['SILENT']})" if excepted else str(found["SILENT"])
        print(f"| {kind} | {found.total()} | {' | '.join(str(found[each]) for each in good)} | {silent} | {bad} |")
        total += Counter({"damaged": found.total(), "silent": 0 if excepted else found["SILENT"], "traceback": bad})
    print(f"\nin all: {dict(total)}")


if __name__ == "__main__":
    main()
