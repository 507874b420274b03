"""What a user sees: a run that ends with results, one that is stopped and goes on, one that is asked for twice."""

import csv
import json
import os
import signal
import struct
import time
from pathlib import Path

import pytest
import torch
from commands import Folder
from safetensors.torch import load_file
from wandb.proto import wandb_internal_pb2

from harmony.core.model_card import ModelCard
from harmony.core.vocabulary import is_known
from harmony.scanner import Prior

METHODS = ["none", "histogram_matching", "blindharmony"]
LONG = ("tasks.flow.max_steps=24", "tasks.flow.val_every=4", "stages=[flow]")


def test_a_run_ends_with_results_summary_config_and_figures(finished):
    run = finished.one("runs/quickstart/seed1-*")
    rows = list(csv.DictReader((run / "results.csv").open()))
    assert list(rows[0]) == ["method", "domain", "subject", "scan", "metric", "value"]
    found = {(row["method"], row["domain"]) for row in rows}
    assert found == {(method, domain) for method in METHODS for domain in ("reference", "exp", "mix")}
    assert {"psnr", "psnr_brain", "ssim", "ssim_brain", "bpd", "jitter", "seconds"} <= {row["metric"] for row in rows}
    assert len({row["subject"] for row in rows}) == 2
    summary = json.loads((run / "summary.json").read_text())
    assert summary["means"]["reference"]["none"]["psnr"][0] == 100
    assert (run / "DONE").exists()
    assert "seed: 1" in (run / "config.yaml").read_text()
    figures = list((run / "figures").glob("*.png"))
    assert len(figures) == 6
    assert all(figure.stat().st_size > 5000 for figure in figures)
    assert "blindharmony" in finished.output
    assert "PSNR dB" in finished.output
    page = run / "report.html"
    assert page.read_text().startswith("<!doctype html>")
    assert finished.output.count(f"its page {page.relative_to(finished.path)}") == 1


def test_a_training_begins_with_the_weights_of_a_model_that_it_names(finished):
    """At no rate it ends with them, but for what the norms counted."""
    first = finished.one("runs/models/flow-*")
    still = ["runs=started", "seed=2", "tasks.flow.module.optimizer.lr=1e-30", f"+tasks.flow.start={first}"]
    code, output = finished.run("train", "stages=[flow]", *still)
    assert code == 0, output
    before, after = (load_file(each / "model.safetensors") for each in (first, finished.one("started/models/flow-*")))
    counted = [name for name in before if "running" in name or "tracked" in name]
    assert all(torch.equal(before[name], after[name]) for name in before if name not in counted)


def test_an_experiment_that_names_a_published_table_shows_its_rows_beside_ours(finished):
    code, output = finished.run("evaluate", "published=blindharmony_simulated")
    assert code == 0, output
    assert "is done, reused" in output
    assert "MNI152 atlas" in output
    assert output.index("│ blindharmony ") < output.index("│ blindharmony (published)")
    assert "published: Jeong et al. 2023" in output


def test_the_flow_folder_is_all_that_harmonizing_needs(finished):
    flow = finished.one("runs/models/flow-*")
    assert {p.name for p in flow.iterdir()} >= {"model.safetensors", "reference.safetensors", "config.yaml", "DONE"}
    assert json.loads((flow / "summary.json").read_text())["score"] < 9


def test_a_finished_experiment_is_reused_and_says_so(finished):
    run = finished.one("runs/quickstart/seed1-*")
    before = (run / "results.csv").stat().st_mtime_ns
    code, output = finished.run("train")
    assert code == 0
    assert output.count("reused") == 2
    assert (run / "results.csv").stat().st_mtime_ns == before
    code, output = finished.run("evaluate")
    assert code == 0
    assert "reused" in output


@pytest.fixture(scope="module")
def log(finished):
    """All records of the finished run's offline W&B files."""
    return [
        record
        for path in sorted(finished.path.glob("runs/quickstart/*/wandb/offline-run-*/*.wandb"))
        for record in records(path)
    ]


@pytest.fixture(scope="module")
def logged(log):
    """Every logged name with its last value."""
    items = [item for record in log for item in record.history.item]
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_the_offline_wandb_run_holds_scalars_images_and_the_table(finished, logged):
    assert logged["flow/val_bpd"] == pytest.approx(
        json.loads((finished.one("runs/models/flow-*") / "summary.json").read_text())["score"], abs=0.5
    )
    assert "flow/train_bpd" in logged
    assert {logged[f"flow/{name}/_type"] for name in ("slices", "reconstructions", "samples")} == {"images/separated"}
    results = finished.one("runs/quickstart/seed1-*") / "results.csv"
    assert logged["results/nrows"] == len(list(csv.DictReader(results.open()))) > 2 * 3 * 3 * 9
    summary = json.loads((finished.one("runs/quickstart/seed1-*") / "summary.json").read_text())
    expected = summary["means"]["exp"]["blindharmony"]["psnr"][0]
    assert logged["result/exp/blindharmony/psnr"] == pytest.approx(expected)
    both = [summary["means"][domain]["blindharmony"]["psnr"][0] for domain in ("exp", "mix")]
    assert logged["result/mean/blindharmony/psnr"] == pytest.approx(sum(both) / 2)
    assert any(key.startswith("figures/") for key in logged)
    assert logged["panels/mix/captions"][0].startswith("query, ")
    assert logged["panels/mix/captions"][-1].startswith("truth, ")
    assert len(logged["panels/mix/all_masks"]) == logged["panels/mix/count"] == 1 + len(METHODS)  # `none` is the query
    assert f"wandb leet {finished.one('runs/quickstart/seed1-*').relative_to(finished.path)}/wandb" in finished.output
    assert finished.output.count("wandb sync") == 1


def test_every_number_in_the_log_is_in_the_vocabulary(logged):
    pictures = ("flow/slices/", "flow/reconstructions/", "flow/samples/", "figures/", "panels/", "results/")
    numbers = {key for key, value in logged.items() if isinstance(value, int | float) and not key.startswith(pictures)}
    own = {"epoch", "trainer/global_step", "_step", "_runtime", "_timestamp", "_wandb/runtime"}
    assert len(numbers) > 50
    assert {key for key in numbers - own if not is_known(key)} == set()


def test_the_log_holds_every_metric_that_the_dashboard_names(finished, logged):
    code, output = finished.run("dashboard")
    assert code == 0, output
    assert "WANDB_API_KEY" in output
    spec = json.loads((finished.path / "dashboard.json").read_text())
    panels = [panel for section in spec["sections"] for panel in section["panels"]]
    for panel in panels:
        for metric in panel["metrics"]:
            assert metric in logged or f"{metric}/_type" in logged, metric
    assert {metric for panel in panels for metric in panel["metrics"]} >= {
        "result/mean/blindharmony/psnr",
        "flow/val_bpd",
    }


def test_a_run_can_be_found_again_sorted_and_used(log):
    (tags,) = {tuple(record.run.tags) for record in log if record.run.tags}
    assert set(tags) == {"quickstart", "data:atlas", "seed:1", *METHODS}
    assert any(update.key == "tasks" for record in log for update in record.run.config.update)
    defined = {record.metric.name: record.metric for record in log if record.HasField("metric")}
    assert defined["flow/val_bpd"].step_metric == "trainer/global_step"
    assert defined["flow/val_bpd"].summary.min
    models = [record.artifact for record in log if record.artifact.type == "model"]
    assert [path.path for path in models[0].manifest.contents] == [
        "config.yaml", "model.safetensors", "model_card.json", "reference.safetensors",
    ]  # fmt: skip


def records(path):
    """The records of an offline W&B file: a LevelDB log, 32 kB blocks of (crc, length, type, data), type 1 whole."""
    data, at, parts = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_training_goes_on_to_the_same_weights(folder, straight, signum, code):
    found, output = folder.interrupt("step 8/24", signum, "train", "logger=wandb", *LONG)
    assert found == code, output
    flow = folder.one("runs/models/flow-*")
    assert (flow / "INTERRUPTED").exists() == (signum != signal.SIGKILL)
    assert not (flow / "DONE").exists()
    found, output = folder.run("train", "logger=wandb", *LONG)
    assert found == 0, output
    assert "resuming" in output
    assert not (flow / "INTERRUPTED").exists()
    same_weights(straight, flow)
    logs = [path.name.split("-", 3)[3] for path in folder.path.glob("runs/quickstart/*/wandb/offline-run-*")]
    assert len(logs) == 2
    assert len(set(logs)) == 1, "a resumed run goes on in the same W&B run"


def test_a_preempted_job_of_a_scheduler_saves_goes_back_into_the_queue_and_on_to_the_same_weights(folder, straight):
    """submitit's own machine-local queue, with the signal that SLURM sends; on SLURM itself: docs/scaling.md."""
    process = folder.start("train", "-m", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=30", *LONG)
    log = wait_for(lambda: next(folder.path.glob("runs/sweeps/*/.submitit/*/*_log.out"), None))
    wait_for(lambda: "step 8/24" in log.read_text())
    queue = log.name.split("_")[0]
    (job,) = Path(f"/proc/{queue}/task/{queue}/children").read_text().split()
    os.kill(int(job), signal.SIGUSR2)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "1 done" in output
    assert "Requeued job" in log.read_text()
    assert "resuming" in log.read_text()
    same_weights(straight, folder.one("runs/models/flow-*"))


def wait_for(found, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.1)
    raise TimeoutError


def same_weights(straight, flow):
    weights = load_file(flow / "model.safetensors")
    for name, tensor in load_file(straight).items():
        assert torch.equal(tensor, weights[name]), name


@pytest.fixture(scope="module")
def straight(tmp_path_factory, cache):
    """The weights of the same training, never stopped."""
    folder = Folder(tmp_path_factory.mktemp("straight"), cache)
    code, output = folder.run("train", *LONG)
    assert code == 0, output
    return folder.one("runs/models/flow-*") / "model.safetensors"


def test_a_multirun_gives_each_seed_its_own_run(folder):
    code, output = folder.run(
        "train", "-m", "seed=1,2", "stages=[flow]", "tasks.flow.max_steps=2", "tasks.flow.val_every=2"
    )
    assert code == 0, output
    assert len(list(folder.path.glob("runs/models/flow-*"))) == 2


@pytest.mark.parametrize(
    ("module", "overrides", "words"),
    [
        ("train", ["experiment=quikstart"], ["quikstart", "quickstart"]),
        ("train", ["experiment=../../../etc"], ["not allowed"]),
        ("train", ["data.preprocess.size=[24,24]"], ["size"]),
        ("train", ["data.source.subjects=2"], ["subjects", "shares"]),
        ("train", ["data.source.subject=3"], ["data.source.subject"]),
        ("evaluate", ["seed=77"], ["train it first"]),
        ("evaluate", ["methods=[nothing]"], ["nothing", "blindharmony"]),
    ],
)
def test_a_mistake_is_one_clear_error(folder, module, overrides, words):
    code, output = folder.run(module, *overrides)
    assert code not in (0, -9)
    assert "Traceback" not in output
    assert all(word in output for word in words), output
    assert not list(folder.path.glob("runs/**/DONE"))
    assert not list(folder.path.glob("runs/**/results.csv"))


def test_a_checkpoint_of_another_architecture_is_one_clear_error(finished):
    flow = finished.one("runs/models/flow-*")
    from harmony import app
    from harmony.core import CheckpointError
    from harmony.flows import spline_flow

    other = spline_flow(
        levels=2, steps=1, hidden_channels=4, blocks=1, bins=4, tail_bound=3, min_bin_width=1e-3, min_bin_height=1e-3,
        min_derivative=1e-3, bits=8, seed=0,
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="another architecture"):
        app.load_weights(other, flow / "model.safetensors")


def test_the_prior_is_learned_once_the_weights_are_chosen_whenever_they_were_validated(finished):
    """Three steps, validated after the second; what was learned beside the weights is named by the card."""
    words = ["tasks.tissue.max_steps=3", "tasks.tissue.val_every=2", "tasks.tissue.batch_size=2"]
    code, output = finished.run("train", "stages=[tissue]", *words)
    assert code == 0, output
    run = finished.one("runs/models/tissue-*")
    assert Prior.load(run / "prior.safetensors").tissues == ("csf", "grey", "white")
    assert list(ModelCard.load(run).files) == ["prior.safetensors", "config.yaml"]
    (run / "prior.safetensors").write_bytes(b"damaged")
    code, output = finished.run("train", "stages=[tissue]", *words)
    assert code != 0
    assert "prior.safetensors: not the file of its model card" in output
