"""Sweeps as a user starts them: what fails stops nothing else, what is done is not repeated, and one table tells."""

import csv
import importlib.util
import json
import signal

import pytest
from commands import Folder
from safetensors.torch import load_file

SHORT = (
    "stages=[flow]",
    "tasks.flow.max_steps=4",
    "tasks.flow.val_every=2",
    "logger=csv",
    "trainer.log_every_n_steps=1",
)
SCORED = ("stages=[flow,evaluate]", "methods=[none]", "data.query=[exp]", "evaluation.subjects=1", "logger=csv")


def records(folder):
    found = [json.loads(path.read_text()) for path in folder.path.glob("runs/sweeps/*/jobs/*.json")]
    return {
        word.split("=")[1]: job for job in found for word in job["overrides"] if word.startswith(("name=", "seed="))
    }


def test_one_bad_job_of_three_stops_no_other_and_is_all_that_a_second_start_runs(folder):
    jobs = ("-m", "name=a,b,c", "evaluation.include_reference=false", *SCORED)
    (folder.path / "runs").mkdir()
    bad = folder.path / "runs" / "b"
    bad.write_text("in the way")
    code, output = folder.run("train", *jobs)
    assert code == 1, output
    named, later = output.index("error: job"), output.index("runs/c/seed1")
    assert "name=b" in output[named:].splitlines()[0]
    assert named < later
    assert "2 done" in output
    assert "1 failed" in output
    found = records(folder)
    assert {name: job["state"] for name, job in found.items()} == {"a": "done", "b": "failed", "c": "done"}
    times = {path: path.stat().st_mtime_ns for path in folder.path.glob("runs/*/seed1-*/results.csv")}
    assert len(times) == 2

    bad.unlink()
    code, output = folder.run("train", *jobs)
    assert code == 0, output
    assert output.count("evaluation: done") == 1
    assert "3 done" in output
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_an_interrupted_sweep_stops_as_a_whole(folder):
    long = ("tasks.flow.max_steps=24", "tasks.flow.val_every=4", "stages=[flow]", "logger=csv")
    code, output = folder.interrupt("step 8/24", signal.SIGINT, "train", "-m", "seed=1,2", *long)
    assert code == 130, output
    assert {seed: job["state"] for seed, job in records(folder).items()} == {"1": "interrupted"}
    assert len(list(folder.path.glob("runs/models/flow-*"))) == 1


def test_a_sweep_that_is_started_twice_at_once_does_each_job_once(folder):
    both = [folder.start("train", "-m", "seed=1,2", *SHORT) for _ in range(2)]
    outputs = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum(output.count("flow: training") for output in outputs) == 2
    assert {job["state"] for job in records(folder).values()} == {"done"}


def curve(folder, seed):
    (path,) = folder.path.glob(f"runs/quickstart/seed{seed}-*/log/version_*/metrics.csv")
    return [
        (name, int(row["step"]), float(row[name]))
        for row in csv.DictReader(path.open())
        for name in ("flow/train_bpd", "flow/val_bpd")
        if row[name]
    ]


def test_two_processes_learn_what_one_does_also_in_a_sweep(tmp_path, cache):
    """Batch statistics, the first batch's normalisation, noise, gradients and validation: all over the whole batch."""
    alone, together = Folder(tmp_path / "alone", cache), Folder(tmp_path / "together", cache)
    for each in (alone, together):
        each.path.mkdir()
    code, output = alone.run("train", "seed=2", *SHORT)
    assert code == 0, output
    group = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu")
    code, output = together.run("train", "-m", "seed=1,2", *SHORT, *group)
    assert code == 0, output
    assert output.count("flow: training") == output.count("flow: done") == 2
    one, two = curve(alone, 2), curve(together, 2)
    assert len(one) == 6
    assert [point[:2] for point in one] == [point[:2] for point in two]
    assert [point[2] for point in two] == pytest.approx([point[2] for point in one], rel=2e-5)
    name = alone.one("runs/models/flow-*").name
    weights = load_file(together.path / "runs" / "models" / name / "model.safetensors")
    for key, tensor in load_file(alone.path / "runs" / "models" / name / "model.safetensors").items():
        assert tensor.float().sub(weights[key].float()).abs().max() < 1e-3, (
            key
        )  # one step of Adam, where a gradient is noise
    assert len(list(together.path.glob("runs/sweeps/*"))) == 1


def test_a_batch_that_the_processes_cannot_share_is_refused(folder):
    code, output = folder.run("train", *SHORT, "trainer.devices=3", "trainer.accelerator=cpu")
    assert code == 2
    assert "batch_size=4: not divisible by 3 processes -> use tasks....batch_size=6" in output


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="the extra `optuna` is not installed")
def test_a_search_returns_the_best_settings(folder):
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1")
    code, output = folder.run("train", "-m", *search, *SHORT, "tasks.flow.module.optimizer.lr=interval(1e-9,1e-2)")
    assert code == 0, output
    assert len(list(folder.path.glob("runs/models/flow-*"))) == 3
    best = folder.one("runs/sweeps/*/optimization_results.yaml").read_text()
    scores = [json.loads(path.read_text())["score"] for path in folder.path.glob("runs/models/flow-*/summary.json")]
    assert f"best_value: {min(scores)}" in best
