"""docs/scanner_inversion.md, done as it says: another tissue network, and another scanner as the reference."""

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

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scanner_inversion.md").read_text()
MODELS = "method.scanner_inversion.models={map_network: voxels, prior: voxels/prior}"


@pytest.fixture
def house(tmp_path):
    """The package and its configs, with the file and the YAML of the page."""
    shutil.copytree(ROOT / "src" / "harmony", tmp_path / "src" / "harmony")
    shutil.copytree(app.conf_folder(), tmp_path / "conf")
    for path, text in re.findall(r"^`((?:src|conf)/[\w/.]+)`:\n\n```\w+\n(.*?)```", PAGE, re.M | re.S):
        (tmp_path / path).write_text(text)
    face = tmp_path / "src" / "harmony" / "networks" / "__init__.py"
    line = "from harmony.networks.voxel_net import VoxelNet\n"
    face.write_text(face.read_text().replace("\n__all__ = [", f"{line}\n__all__ = [\n    'VoxelNet',", 1))
    return tmp_path


def test_another_tissue_network_is_one_file_and_one_yaml(house):
    words = ["stages=[flow,voxels,evaluate]", "methods=[none,scanner_inversion]", "tasks.voxels.max_steps=3"]
    words += ["tasks.voxels.val_every=2", "tasks.voxels.batch_size=2", "logger=csv", MODELS]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "HARMONY"))}
    env |= {"PYTHONPATH": str(house / "src"), "HARMONY_CACHE": str(house / "cache")}
    command = [sys.executable, "-m", "harmony.train", *TINY, *words]
    done = subprocess.run(command, cwd=house, env=env, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (house / "runs" / "models").glob("voxels-*")
    assert list(ModelCard.load(run).files) == ["prior.safetensors", "config.yaml"]
    assert Prior.load(run / "prior.safetensors").tissues == ("csf", "grey", "white")
    (results,) = (house / "runs").glob("*/seed1-*/results.csv")
    rows = list(csv.DictReader(results.open()))
    assert {row["method"] for row in rows} == {"none", "scanner_inversion"}
    assert any(row["metric"] == "scanner_untouched" for row in rows)


def test_the_function_of_the_page_makes_another_scanner_the_reference():
    code = re.search(r"```python\n(from harmony.core.reference.*?)```", PAGE, re.S).group(1)
    exec(code, namespace := {})

    def second(seed):
        first = labelled(seed)
        image = scanned(first.image, first.mask, one_hot(first.labels, 3), scanner(2.0)).clamp(max=1)
        return volume(image, first.mask, name=str(seed))

    settings = {"percentile": 100.0, "any_probability": 0.9, "one_curve": 0.0, "matching": 0.0, "most_noise": 1.0}
    settings |= {"shading": "reference", "widest": 5.0, "unlikely": 1e9, "misfit": 1e9}
    make = namespace["method_of_another_scanner"]
    method = make([second(seed) for seed in range(5)], by_intensity, learned_prior(), settings)
    first, wanted = labelled(30), second(30)
    made = method.harmonize(stack(first.image, first.mask)).image
    assert psnr(made, wanted.image[:, None]) > psnr(first.image[:, None], wanted.image[:, None]) + 6
    assert torch.equal(method.prior.scanners, learned_prior().scanners)
