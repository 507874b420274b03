"""What the pages add to the house, in a copy of it and in one process, for what takes longest is to import it all.

The five examples of CONTRIBUTING.md to the end: trained, evaluated, judged, reported. And those of
docs/scanner_inversion.md: another tissue network, and another scanner as the reference.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from brains import by_intensity, labelled, learned_prior, scanned, scanner, stack, volume
from commands import TINY

from harmony import app
from harmony.core.model_card import ModelCard
from harmony.metrics import psnr
from harmony.scanner import Prior, one_hot

sys.path.append(str(Path(__file__).parents[1] / "data"))
from phantoms import phantom, save

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
INVERSION = (ROOT / "docs" / "scanner_inversion.md").read_text()
# Where a name is added to a room's list: module -> its room and name.
NAMES = {
    "methods/gain": ("methods", "Gain"), "tasks/undo": ("tasks", "UndoTask"), "judges/glow": ("judges", "Glow"),
    "data/sources/flat": ("data", "Flat"), "networks/voxel_net": ("networks", "VoxelNet"),
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
ANOTHER_NETWORK = [
    *TINY, "stages=[flow,voxels,evaluate]", "methods=[none,scanner_inversion]", "tasks.voxels.max_steps=3",
    "tasks.voxels.val_every=2", "tasks.voxels.batch_size=2", "logger=csv",
    "method.scanner_inversion.models={map_network: voxels, prior: voxels/prior}",
]  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """The package and its configs, with what the pages add: trained, evaluated, judged, and its tables of members."""
    house = copied(tmp_path_factory.mktemp("house"))
    scans, (data, _) = house / "scans", phantom()
    scans.mkdir()
    for k in range(10):
        save(scans / f"anna{k}_{30 + 5 * k}.nii.gz", data * (1 + 0.05 * k))
    page = house / "README.md"
    page.write_text("".join(f"<!-- table: {{words: {family}}} -->\n<!-- end -->\n" for family in ("method", "judge")))
    added = ["harmony.train", *COMMAND, f"data.root={scans}"]
    run(house, added, ["harmony.train", *ANOTHER_NETWORK], ["harmony.report", "--records", str(page)])
    return house


def copied(tmp_path):
    """The package and its configs, with the files of the pages and their names in the lists."""
    shutil.copytree(ROOT / "src" / "harmony", tmp_path / "src" / "harmony")
    shutil.copytree(app.conf_folder(), tmp_path / "conf")
    files = r"^`((?:src|conf)/[\w/.]+)`[^\n]*:\n\n```\w+\n(.*?)```"
    for path, text in re.findall(files, CONTRIBUTING + INVERSION, re.M | re.S):
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
    """One after the other in one process."""
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


def test_another_tissue_network_is_one_file_and_one_yaml(house):
    (trained,) = (house / "runs" / "models").glob("voxels-*")
    assert list(ModelCard.load(trained).files) == ["prior.safetensors", "config.yaml"]
    assert Prior.load(trained / "prior.safetensors").tissues == ("csf", "grey", "white")
    (evaluated,) = (house / "runs" / "quickstart").glob("seed1-*")
    rows = list(csv.DictReader((evaluated / "results.csv").open()))
    assert {row["method"] for row in rows} == {"none", "scanner_inversion"}
    assert any(row["metric"] == "scanner_untouched" for row in rows)


def test_the_function_of_the_inversion_page_makes_another_scanner_the_reference():
    code = re.search(r"```python\n(from harmony.core.reference.*?)```", INVERSION, re.S).group(1)
    exec(code, namespace := {})

    def second(seed):
        first = labelled(seed)
        image = scanned(first.image, first.mask, one_hot(first.labels, 3), scanner(2.0)).clamp(max=1)
        return volume(image, first.mask, name=str(seed))

    settings = {"percentile": 100.0, "any_probability": 0.9, "nearer": 0.0, "matching": 0.0, "most_noise": 1.0}
    settings |= {"shading": "reference", "widest": 5.0, "unlikely": 1e9, "misfit": 1e9}
    make = namespace["method_of_another_scanner"]
    method = make([second(seed) for seed in range(5)], by_intensity, learned_prior(), settings)
    first, wanted = labelled(30), second(30)
    made = method.harmonize(stack(first.image, first.mask)).image
    assert psnr(made, wanted.image[:, None]) > psnr(first.image[:, None], wanted.image[:, None]) + 6
    assert torch.equal(method.prior.scanners, learned_prior().scanners)
