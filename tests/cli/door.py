"""The console command as a user starts it, and what a tiny training leaves."""

import json
import os

import nibabel
import numpy as np
import yaml
from programs import Program

from harmony import app
from harmony.core.model_card import ModelCard, sha256
from harmony.core.runs import RunFolder
from harmony.data import Preprocess

PREPROCESS = {"spacing": 4.0, "axis": "axial", "size": [48, 56], "percentile": 99.5}
FLOW = {
    **{"levels": 3, "steps": 1, "hidden_channels": 8, "blocks": 1, "bins": 4, "tail_bound": 3.0, "bits": 8, "seed": 1},
    **dict.fromkeys(("min_bin_width", "min_bin_height", "min_derivative"), 1e-3),
}
SEGMENTER = {"in_channels": 1, "out_channels": 4, "widths": [4, 8], "residual_units": 0, "norm": "instance"}
SHAPE = (40, 48, 40)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
BOUNDS = (60, 75, 55)  # mm, half axes of the brain: 1037 ml


def command(*words, cwd, **env):
    """`python -m harmony WORDS`: its exit code, stdout and stderr. Nothing a user does wrong may end in a traceback."""
    process = start(*words, cwd=cwd, **env)
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in out + err, out + err
    return process.returncode, out, err


def start(*words, cwd, **env):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "HARMONY"))}
    environment = kept | {"HARMONY_CACHE": str(cwd / ".cache"), "PYTHONUNBUFFERED": "1"} | env
    return Program("harmony", words, cwd=cwd, env=environment, merged=False)


def brain(seed, scale=1.0):
    """Two tissues and noise in an ellipsoid, nothing outside; `scale` 1.5 is as large as a head."""
    place = (np.moveaxis(np.indices(SHAPE), 0, -1) + 0.5 - np.array(SHAPE) / 2) * 4
    radius = np.sqrt(((place / np.array(BOUNDS) / scale) ** 2).sum(-1))
    noise = np.random.default_rng(seed).normal(0, 8, SHAPE)
    return np.where(radius < 1, np.where(radius < 0.6, 220, 140) + noise, 0).astype(np.float32)


def save_scan(path, seed=0, scale=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(brain(seed, scale), AFFINE), path)
    return path


def trained(path, stage, target, settings, module):
    run = RunFolder(path)
    secret = {"data": {"root": "/home/somebody/patients"}, "seed": 1, "name": "tiny"}
    run.begin(yaml.safe_dump(secret | {"tasks": {stage: {"network": {"_target_": target} | settings}}}))
    app.save_weights(module, path / "model.safetensors")
    grid = Preprocess(**PREPROCESS).settings()
    people = {"subjects": 2, "scanners": ["Trio"], "sites": []}
    ModelCard(path.name, "0", grid, people, {f"{stage}/val_bpd": 3.0}, sha256(path / "model.safetensors")).save(path)
    run.finish({"score": 3.0})
    return path


def sidecar(path):
    return json.loads(path.read_text())
