"""Methods that are trained on one query scanner, from the command to the table."""

import csv

import torch
from safetensors.torch import load_file

from harmony.core.curves import add_to_curves, read_curves

TINY = [
    f"tasks.{stage}.{setting}"
    for stage in ("unet", "cyclegan")
    for setting in ("max_steps=5", "val_every=2", "batch_size=4", "network.widths=[4,4]")
]


def test_translators_are_trained_logged_drawn_and_scored(finished):
    code, output = finished.run(
        "train", "name=trained", "stages=[unet,cyclegan,evaluate]", "methods=[none,unet,cyclegan]", *TINY,
        "tasks.cyclegan.module.critic.layers=1", "tasks.cyclegan.query=mix", "logger=csv",
    )  # fmt: skip
    assert code == 0, output
    rows = list(csv.DictReader(finished.one("runs/trained/seed1-*/results.csv").open()))
    assert {row["method"] for row in rows} == {"none", "unet", "cyclegan"}
    for stage, metric in (("unet", "unet/val_error"), ("cyclegan", "cyclegan/val_cycle")):
        run = finished.one(f"runs/models/{stage}-*")
        assert [step for step, _ in read_curves(run / "curves.csv")[metric]] == [2, 4]
        assert (run / "figures" / "curves.png").stat().st_size > 5000
        assert (run / "DONE").exists()
    weights = load_file(run / "model.safetensors")
    assert {name.split(".")[0] for name in weights} == {"features", "residual"}  # G alone
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 4
    assert all(torch.equal(last["state_dict"][f"network.{name}"], tensor) for name, tensor in weights.items())


def test_a_resumed_curve_has_each_step_once(tmp_path):
    path = tmp_path / "curves.csv"
    assert read_curves(path) == {}
    for step, value in ((10, 1.0), (20, 0.5), (30, 0.4), (20, 0.6), (30, 0.3)):
        add_to_curves(path, step, {"task/val_x": value, "task/train_x": 2 * value})
    assert read_curves(path) == {
        "task/val_x": [(10, 1.0), (20, 0.6), (30, 0.3)],
        "task/train_x": [(10, 2.0), (20, 1.2), (30, 0.6)],
    }
