"""Whatever a file, a name, a table or a command line holds: it is used, or refused in one line.

    python tests/fuzz/run.py [SECONDS] [TARGET...]

Every target gets an equal share of the time. What ends otherwise is printed, as small as Hypothesis can make it, with
its traceback; exit code 1. What was found becomes a test of its own (tests/data/test_corpus.py and others).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import logging
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import nibabel
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import HealthCheck, Phase, given, settings
from images import copies, image_check
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors.torch import save_file

from harmony import app
from harmony.app.sweep import Job, read_records
from harmony.cli.commands import COMMANDS
from harmony.cli.mistakes import UsageError
from harmony.cli.words import translate
from harmony.core import HarmonyError, Row, Scan, read_rows, write_rows
from harmony.core.checkpoints import read_checkpoint
from harmony.core.curves import add_to_curves, read_curves
from harmony.core.digests import read_sealed, read_yaml, write_sealed
from harmony.core.model_card import ModelCard
from harmony.core.packed_model import read_manifest
from harmony.core.reference import Reference
from harmony.data import BidsFolder, CsvManifest, Ixi, Preprocess, VolumeCache, read_nifti

ALLOWED = (HarmonyError, HydraException, OmegaConfBaseException, UsageError)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "mac-roman")
Check = Callable[[Any], object]


def main() -> None:
    seconds, wanted = float((*sys.argv[1:2], 300)[0]), sys.argv[2:]
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        chosen = {name: each for name, each in targets(Path(folder)).items() if not wanted or name in wanted}
        failed = [
            name
            for name, (strategy, check) in chosen.items()
            if not survives(name, strategy, check, seconds / len(chosen))
        ]
    print(f"{len(chosen)} targets, {len(failed)} failed: {', '.join(failed) or 'none'}")
    sys.exit(bool(failed))


def survives(name: str, strategy: st.SearchStrategy[Any], check: Check, seconds: float) -> bool:
    end, count, wrong = time.monotonic() + seconds, [0], [False]

    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck),
              phases=[Phase.generate, Phase.shrink])  # fmt: skip
    @given(strategy)
    def one_round(example: Any) -> None:
        if time.monotonic() > end and not wrong[0]:
            return
        count[0] += 1
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                check(example)
        except ALLOWED as error:
            if isinstance(error, HarmonyError) and "\n" in str(error):
                wrong[0] = True
                raise AssertionError(f"more than one line: {error}") from error
        except Exception:
            wrong[0] = True  # Hypothesis makes it smaller, however long that takes
            raise

    try:
        while time.monotonic() < end:
            one_round()
    except Exception:
        print(f"{name}: FAILED after {count[0]} examples\n{traceback.format_exc()}", flush=True)
        return False
    print(f"{name}: {count[0]} examples", flush=True)
    return True


def targets(folder: Path) -> dict[str, tuple[st.SearchStrategy[Any], Check]]:
    samples = files(folder)
    found: dict[str, tuple[st.SearchStrategy[Any], Check]] = {
        kind: (damaged(raw), written(folder / name, read)) for kind, (name, raw, read) in samples.items()
    }
    found["gzip around damaged NIfTI"] = (
        damaged(samples["nifti"][1]), lambda raw: written(folder / "x.nii.gz", nifti)(gzip.compress(raw, 1)),
    )  # fmt: skip
    found["tables"] = (
        st.tuples(tables, st.sampled_from(ENCODINGS), st.sampled_from([".csv", ".tsv"])),
        table_check(folder),
    )
    found["images"] = copies, image_check(folder / "images")
    found["BIDS names"] = st.lists(st.tuples(names, names, names), min_size=1, max_size=4), bids_check(folder / "bids")
    found["overrides"] = st.lists(overrides(), min_size=1, max_size=3), override_check()
    found["words"] = st.lists(words, max_size=6), words_check
    return found


# Files


def files(folder: Path) -> dict[str, tuple[str, bytes, Callable[[Path], object]]]:
    """Kind -> (name, a whole one, its reader)."""
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.eye(4))
    run = folder / "model"
    run.mkdir()
    (run / "model.safetensors").write_bytes(b"x")
    ModelCard("flow", "0", {"spacing": 1.0}, {}, {}, "0").save(run)
    card = (run / "model_card.json").read_bytes()
    Reference(torch.rand(3, 1, 4, 4), torch.rand(3, 8), torch.rand(3)).save(folder / "reference.safetensors")
    write_rows(
        folder / "rows.csv", [Row("none", "exp", "sub-1", "psnr", 1.0), Row("none", "exp", "sub-2", "psnr", 2.0)]
    )
    (folder / "rows.csv.sha256").unlink()
    add_to_curves(folder / "curves.csv", 3, {"flow/val_bpd": 2.0})
    (folder / "curves.csv.sha256").unlink()
    write_sealed(folder / "summary.json", {"score": 1.0, "means": {"a": [1, None, "ü"]}})
    torch.save({"state_dict": {"w": torch.zeros(3)}, "global_step": 3}, folder / "last.ckpt")
    save_file(
        {"image": torch.zeros(2, 3, 4), "mask": torch.ones(2, 3, 4, dtype=torch.bool)}, folder / "cache.safetensors"
    )
    Job(folder / "sweep", ["seed=1"]).record("done", runs={"flow": folder})
    record = next((folder / "sweep" / "jobs").glob("*.json"))
    raw = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return {
        "nifti": ("x.nii", image.to_bytes(), nifti),
        "gzip": ("x.nii.gz", gzip.compress(image.to_bytes(), 1), nifti),
        "results": ("r/rows.csv", raw["rows.csv"], read_rows),
        "curves": ("r/curves.csv", raw["curves.csv"], read_curves),
        "sealed": ("r/summary.json", raw["summary.json"], read_sealed),
        "config": ("r/config.yaml", b"seed: 1\na: {b: [1, 2.5, null]}\n", read_yaml),
        "checkpoint": ("r/last.ckpt", raw["last.ckpt"], read_checkpoint),
        "reference": ("r/reference.safetensors", raw["reference.safetensors"], Reference.load),
        "card": ("model/model_card.json", card, lambda path: ModelCard.load(path.parent)),
        "job": (f"sweep/jobs/{record.name}", record.read_bytes(), lambda path: read_records(path.parents[1])),
        "packed model": ("m.harmony", packed(), read_manifest),
        "manifest": ("t/table.csv", b"path,subject,age,sex\nx.nii,a,3,F\n", lambda path: CsvManifest(path).scans()),
        "ixi": ("ixi/IXI.csv", b"IXI_ID,AGE,SEX_ID (1=m, 2=f)\n2,35.8,2\n", ixi),
        "cache": ("v", raw["cache.safetensors"], cached(folder)),
    }  # fmt: skip


def nifti(path: Path) -> object:
    return read_nifti(path, subject="x")


def packed() -> bytes:
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("manifest.json", '{"format": 1, "name": "a", "files": {"flow/config.yaml": "0"}}')
        archive.writestr("flow/config.yaml", "a: 1")
    return stream.getvalue()


def ixi(path: Path) -> object:
    (path.parent / "IXI002-Guys-0828-T1.nii.gz").write_bytes(b"")
    return Ixi(path.parent, sites=None, demographics=path.name).scans()


def cached(folder: Path) -> Callable[[Path], object]:
    """A damaged entry is made again from the scan."""
    preprocess = Preprocess(spacing=4.0, axis="axial", size=(8, 8), percentile=99.0, only_plausible=False)
    data = np.random.default_rng(0).uniform(1, 2, (4, 4, 4)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(np.pad(data, 2), np.diag([4.0, 4, 4, 1])), folder / "scan.nii.gz")
    cache, scan = VolumeCache(folder / "volumes", preprocess), Scan(folder / "scan.nii.gz", "a")
    whole = cache.get(scan).image.clone()

    def read(path: Path) -> object:
        (entry,) = (folder / "volumes").glob("*.safetensors")
        entry.write_bytes(path.read_bytes())
        assert torch.equal(cache.get(scan).image, whole)

    return read


def damaged(raw: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes; or the whole file with a few bytes changed, cut out or put in, or cut short."""
    place = st.integers(0, len(raw))

    def edited(edits: list[tuple[int, int, bytes]], end: int) -> bytes:
        made = bytearray(raw)
        for at, gone, new in edits:
            made[at : at + gone] = new
        return bytes(made[:end])

    edits = st.lists(st.tuples(place, st.integers(0, 4), st.binary(max_size=4)), max_size=4)
    return st.one_of(st.binary(max_size=400), st.builds(edited, edits, st.one_of(place, st.just(len(raw) + 16))))


def written(path: Path, read: Callable[[Path], object]) -> Check:
    def check(raw: bytes) -> object:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        return read(path)

    return check


# Tables and names

cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["sub-01", "1", "n/a", "-5", "inf", "89+", "F", "W", '"', "'", "\r", "nan", "1e999", "..", "/", "x.nii"]
)
headers = (
    st.sampled_from(["participant_id", "age", "sex", "path", "subject", "session", "split", "site", "Age ", ""]) | cells
)
tables = st.tuples(st.lists(headers, max_size=5), st.lists(st.lists(cells, max_size=5), max_size=4))
names = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=12) | st.sampled_from(
    [
        "sub-01",
        "ses-A",
        "sub-",
        "anat",
        "sub-01_T1w.nii.gz",
        "sub-01_ses-A_T1w.nii",
        "._sub-01_T1w.nii.gz",
        "sub-01_T1w.nii",
    ]
)


def table_check(folder: Path) -> Check:
    scans = folder / "with_table" / "sub-01" / "anat"
    scans.mkdir(parents=True)
    (scans / "sub-01_T1w.nii.gz").write_bytes(b"")

    def check(example: tuple[tuple[list[str], list[list[str]]], str, str]) -> None:
        (header, rows), encoding, suffix = example
        mark = "\t" if suffix == ".tsv" else ","
        raw = "\n".join(mark.join(row) for row in (header, *rows)).encode(encoding, errors="replace")
        for path, read in (
            (scans.parents[1] / "participants.tsv", lambda path: BidsFolder(path.parent).scans()),
            (folder / "with_table" / f"t{suffix}", lambda path: CsvManifest(path).scans()),
        ):
            with contextlib.suppress(HarmonyError):
                written(path, read)(raw)

    return check


def bids_check(root: Path) -> Check:
    def check(example: list[tuple[str, str, str]]) -> None:
        shutil.rmtree(root, ignore_errors=True)
        for parts in example:
            for path in (root.joinpath(*parts), root / "sub-01" / "anat" / parts[2]):
                with contextlib.suppress(OSError, ValueError):  # no name of this file system
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(b"")
        BidsFolder(root, mask="masks/{subject}_" + example[0][0]).scans()

    return check


# Overrides and words

values = st.text(max_size=10) | st.sampled_from(
    [
        "abc",
        "-1",
        "0",
        "1e99",
        "nan",
        "null",
        "true",
        "[]",
        "{}",
        "[1,a]",
        "{a: 1}",
        "${seed}",
        "${oc.env:HOME}",
        "'",
        "../../x",
        "${..}",
        "1,2",
        "range(3)",
        "[none]",
        "{train: 1.0}",
        ".inf",
    ]
)
words = st.text(max_size=10) | st.sampled_from(
    [*COMMANDS, "--help", "--model", "--method", "seed=2", "-m", "--seed", "in", "out", "--mask=auto", "--cfg"]
)


def overrides() -> st.SearchStrategy[str]:
    cfg = composed()
    every = leaves(OmegaConf.to_container(cfg, resolve=False), "")
    keys = [key for key, _ in every if not key.startswith("hydra.")]
    key = st.sampled_from(keys) | st.sampled_from(
        ["data", "flow", "hydra.run.dir", "hydra.launcher", "data.shares", "name"]
    )
    return st.builds("{}{}={}".format, st.sampled_from(["", "+", "++", "~"]), key, values)


def leaves(node: Any, where: str) -> list[tuple[str, Any]]:
    if not isinstance(node, dict):
        return [(where, node)]
    return [pair for key, value in node.items() for pair in leaves(value, f"{where}.{key}".lstrip("."))]


def composed() -> Any:
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        return compose("config", return_hydra_config=True)


def override_check() -> Check:
    whole = composed()
    parser = OverridesParser.create()

    def check(example: list[str]) -> None:
        found = [each for each in parser.parse_overrides(example) if not each.is_sweep_override()]

        cfg = whole.copy()
        ConfigLoaderImpl._apply_overrides_to_config(found, cfg)
        del cfg["hydra"]
        app.refuse_foreign_targets(cfg)
        app.refuse_impossible(cfg)
        app.expand_groups(cfg)

    return check


def words_check(example: list[str]) -> None:
    for name, command in COMMANDS.items():
        if command.config is not None:
            with contextlib.suppress(UsageError):
                translate(name, command, example)


if __name__ == "__main__":
    main()
