"""The five examples of CONTRIBUTING.md in a copy of the house, to the end: trained, evaluated, judged, reported."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harmony import app

sys.path.append(str(Path(__file__).parents[1] / "data"))
from phantoms import phantom, save

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
# Where a name is added to a room's list: module -> its room and name.
NAMES = {
    "methods/gain": ("methods", "Gain"), "tasks/undo": ("tasks", "UndoTask"), "judges/glow": ("judges", "Glow"),
    "data/sources/flat": ("data", "Flat"),
}  # fmt: skip
KINDS = "data/simulation/shifts_unseen.py"
COMMAND = [
    "experiment=ixi_nsf", "name=added", "stages=[needed,evaluate]", "methods=[none,gain,undo]",
    "evaluation.judges=[glow]",
    "data=flat", "data.only_plausible=false", "data.preprocess.spacing=2.0", "data.preprocess.size=[32,32]",
    "data.count=4", "data.shares={train: 0.4, val: 0.2, test: 0.4}", "logger=csv", "data.query=[exp,stripes]",
    "+data.scanners.stripes={kind: stripes, strength: 0.1, seed: 0}",
    "flow.steps=1", "flow.hidden_channels=8", "tasks.flow.max_steps=3", "tasks.flow.val_every=3",
    "tasks.flow.batch_size=4", "tasks.undo.max_steps=3", "tasks.undo.val_every=3", "tasks.undo.batch_size=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """The package and its configs, with what the page adds: trained, evaluated, judged, and its tables of members."""
    house = copied(tmp_path_factory.mktemp("house"))
    scans, (data, _) = house / "scans", phantom()
    scans.mkdir()
    for k in range(10):
        save(scans / f"anna{k}_{30 + 5 * k}.nii.gz", data * (1 + 0.05 * k))
    page = house / "README.md"
    page.write_text("".join(f"<!-- table: {{words: {family}}} -->\n<!-- end -->\n" for family in ("method", "judge")))
    run(house, ["harmony.train", *COMMAND, f"data.root={scans}"], ["harmony.report", "--records", str(page)])
    return house


def copied(tmp_path):
    """The package and its configs, with the files of the page and its names in the lists."""
    shutil.copytree(ROOT / "src" / "harmony", tmp_path / "src" / "harmony")
    shutil.copytree(app.conf_folder(), tmp_path / "conf")
    for path, text in re.findall(r"^`((?:src|conf)/[\w/.]+)`[^\n]*:\n\n```\w+\n(.*?)```", PAGE, re.M | re.S):
        assert not (tmp_path / path).exists()
        (tmp_path / path).write_text(text)
    for module, (room, name) in NAMES.items():
        face = tmp_path / "src" / "harmony" / room / "__init__.py"
        line = f"from harmony.{module.replace('/', '.')} import {name}\n"
        face.write_text(face.read_text().replace("\n__all__ = [", f"{line}\n__all__ = [\n    {name!r},", 1))
    kinds = tmp_path / "src" / "harmony" / KINDS
    line = "from harmony.data.simulation.stripes import striped\n"
    kinds.write_text(kinds.read_text().replace("\nUNSEEN = {\n", f'{line}\nUNSEEN = {{\n    "stripes": striped,\n', 1))
    return tmp_path


def run(house, *commands):
    """One after the other in one process: what takes longest is to import it all."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "HARMONY"))}
    env |= {"PYTHONPATH": str(house / "src"), "HARMONY_CACHE": str(house / "cache")}
    code = f"for sys.argv in {list(commands)!r}: runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    command = [sys.executable, "-c", f"import runpy, sys\n{code}"]
    done = subprocess.run(command, cwd=house, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_added_gets_its_line_in_the_tables_of_members(house):
    for name in ("none", "gain", "undo", "glow"):
        assert f"| `{name}` | " in (house / "README.md").read_text()


def test_methods_a_judge_a_scanner_and_a_data_set_are_added_and_reported(house):
    (evaluated,) = (house / "runs" / "added").glob("seed1-*")
    rows = list(csv.DictReader((evaluated / "results.csv").open()))
    assert {row["method"] for row in rows} == {"none", "gain", "undo"}
    assert {row["domain"] for row in rows} == {"reference", "exp", "stripes"}
    assert {row["method"] for row in rows if row["metric"] == "age_error"} == {"none", "gain", "undo"}
    assert len(list((house / "runs" / "models").glob("undo-*/DONE"))) == 1
    assert {row["subject"][:4] for row in rows} == {"anna"}
    page = (evaluated / "report.html").read_text()
    assert "one factor, which brings quantile 0.5" in page
    assert "learned to undo gamma curves (2^-0.5 to 2^0.5)" in page
    assert "the age guessed from the brightness of the brain" in page
    assert "the scans of a folder, by name and age" in page
