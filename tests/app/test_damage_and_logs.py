"""Damaged pieces of runs, full disks, a log without a network: one line, what is finished stays."""

import errno
import os
import shutil
import socket
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))
from folders import run_folder

from harmony import app, report
from harmony.app import log
from harmony.app.shell import _explain
from harmony.app.sweep import Job, read_records
from harmony.core import CheckpointError, DataError, HarmonyError, Scan
from harmony.core.runs import RunFolder
from harmony.reports import report_page


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "runs" / "made_up" / whole.name))


def test_a_report_of_a_damaged_run_is_one_line_that_names_the_file(run, capsys, monkeypatch):
    names = ("config.yaml", "results.csv", "environment.json", "summary.json")
    traces = next(run.glob("traces/*/*.json")).relative_to(run)
    panel, counts = (next(run.glob(p)).relative_to(run) for p in ("panels/*/*/*.png", "histograms/*/*.csv"))
    for name in (*names, *map(str, (traces, panel, counts)), "adaptation/harmonizing_flows-gamma_0.7.json"):
        raw = (run / name).read_bytes()
        for damaged in (raw[: len(raw) // 2], bytes([raw[0] ^ 0x80]) + raw[1:], raw[:40] + b"\xff" + raw[41:]):
            (run / name).write_bytes(damaged)
            monkeypatch.setattr(sys, "argv", ["report", str(run)])
            with pytest.raises(SystemExit) as stop:
                report.main()
            err = capsys.readouterr().err
            assert (stop.value.code, err.count("\n")) == (2, 1)
            assert err.startswith("error: ")
            assert Path(name).name in err
        (run / name).write_bytes(raw)
    report.main()
    assert (run / "report.html").exists()


def test_an_evaluation_of_an_older_version_without_digests_is_read_or_one_line(run):
    """A method that was never asked for is one line, and so is a file that is none."""
    for each in (*run.rglob("*.sha256"), run / "contents.json"):
        each.unlink()
    table = (run / "results.csv").read_text()
    (run / "results.csv").write_text(table.replace("blindharmony", "blindharMony"))
    with pytest.raises(DataError, match=r"results\.csv: results of blindharMony"):
        report_page([run], run / "report.html")
    (run / "results.csv").write_text(table)
    for name, text in (("config.yaml", b"\xff\xfe\x00"), ("config.yaml", b"a: 1"), ("results.csv", b"\x00\xff"),
                       ("summary.json", b"[]"), ("adaptation/harmonizing_flows-gamma_0.7.json", b"{}"),
                       ("environment.json", b"{}")):  # fmt: skip
        raw = (run / name).read_bytes()
        (run / name).write_bytes(text)
        with pytest.raises(HarmonyError, match=r"^[^\n]*$"):
            report_page([run], run / "report.html")
        (run / name).write_bytes(raw)


def test_a_damaged_record_of_a_job_is_named_and_no_other_is_lost(tmp_path, capsys):
    for seed in (1, 2):
        Job(tmp_path, [f"seed={seed}"]).record("done", runs={"flow": tmp_path / "flow"})
    assert [record["overrides"] for record in read_records(tmp_path)] == [["seed=1"], ["seed=2"]]
    path = Job(tmp_path, ["seed=1"]).path
    path.write_text(path.read_text().replace("done", "dome"))
    assert [record["overrides"] for record in read_records(tmp_path)] == [["seed=2"]]
    assert path.name in capsys.readouterr().err


def test_what_the_disk_says_is_one_line_and_a_bug_is_none():
    unusable = _explain(PermissionError(errno.EACCES, "Permission denied", "/cache/volumes"))
    assert unusable.startswith("/cache/volumes: Permission denied -> ")
    assert "what is finished is kept" in unusable
    assert "No space left" in _explain(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert _explain(OSError("x")) is None
    assert _explain(ConnectionResetError(errno.ECONNRESET, "reset")) is None
    assert _explain(KeyError("x")) is None


def test_a_finished_model_that_is_damaged_is_not_reused(tmp_path, monkeypatch):
    from harmony import train
    from harmony.core.model_card import ModelCard

    run = RunFolder(tmp_path)
    run.begin("a: 1\n")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    from harmony.core.digests import sha256

    ModelCard("flow", "0", {}, {}, {}, sha256(tmp_path / "model.safetensors")).save(tmp_path)
    run.finish({"score": 1.0})
    monkeypatch.setattr(app, "build_data", lambda *_: None)
    monkeypatch.setattr(app, "model_run", lambda *_: run)
    cfg = SimpleNamespace(tasks={"flow": None})
    assert train.train_stage(cfg, "flow") == tmp_path
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    with pytest.raises(HarmonyError, match=r"model\.safetensors: not the weights"):
        train.train_stage(cfg, "flow")


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"a: [", b"[]", b"tasks: 3"])
def test_a_model_folder_whose_config_is_none_is_one_clear_error(raw, tmp_path):
    (tmp_path / "config.yaml").write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"not the run folder of a trained flow"):
        app.load_run(tmp_path, "flow")


# The log


@pytest.fixture
def server(monkeypatch):
    """A server that takes connections; its port is nobody's once it is closed."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        yield listening


def test_a_server_that_does_not_answer_is_named(server, capsys, monkeypatch):
    assert log._reached()
    server.close()
    assert not log._reached()
    assert "127.0.0.1 cannot be reached" in capsys.readouterr().out
    monkeypatch.setenv("WANDB_BASE_URL", "http://localhost:notaport")
    assert not log._reached()


@pytest.mark.parametrize(("key", "answers", "takes", "offline"), [
    (None, True, True, True), ("k", False, True, True), ("k", True, True, False), ("k", True, False, True),
])  # fmt: skip
def test_the_log_goes_on_offline_without_key_or_server_or_where_the_key_is_refused(
    key, answers, takes, offline, monkeypatch, capsys
):
    from wandb.errors import AuthenticationError

    class Logger:
        def __init__(self, *, offline):
            self.offline, self._wandb_init = offline, {"anonymous": None}

        @property
        def experiment(self):
            if not (self.offline or takes):
                raise AuthenticationError("no such key")
            return self

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setattr(log, "_reached", lambda: answers)
    assert log._opened(partial(Logger)).offline == offline
    assert ("offline" in capsys.readouterr().out) == (key == "k" and answers and not takes)


# Labels


def unlabelled(*labels):
    scans = [Scan(Path(f"sub-{k}.nii.gz"), f"sub-{k}", labels=label) for k, label in enumerate(labels)]
    return SimpleNamespace(split=lambda: {"train": scans, "val": scans, "test": scans})


@pytest.fixture(scope="module")
def cfg():
    from folders import config

    return config("data.query=[exp,mix]")


def test_a_query_that_needs_tissues_is_refused_at_once_where_the_data_have_none(cfg, monkeypatch):
    build = sys.modules["harmony.app.build"]  # the package has a function of this name
    data = unlabelled(Path("a"), None)
    monkeypatch.setattr(build, "build_data", lambda *_: data)
    with pytest.raises(DataError, match=r"sub-1.*mix.*data\.labels="):
        app.refuse_unlabelled(cfg, ["flow", "evaluate"])
    app.refuse_unlabelled(cfg, ["flow"])  # nothing of it is asked there
    few = cfg.copy()
    few.evaluation.subjects = 1
    app.refuse_unlabelled(few, ["evaluate"])
    trained = cfg.copy()
    trained.tasks.unet.query = "tissue"
    with pytest.raises(DataError, match=r"sub-1.*'tissue'"):
        app.refuse_unlabelled(trained, ["unet"])
    structures = cfg.copy()
    OmegaConf.update(structures, "data.preprocess.label_map", "freesurfer", force_add=True)
    monkeypatch.setattr(build, "build_data", lambda *_: unlabelled(Path("a"), Path("a")))
    app.refuse_unlabelled(cfg, ["evaluate"])
    with pytest.raises(DataError, match=r"labels 1 CSF"):
        app.refuse_unlabelled(structures, ["evaluate"])
    simple = cfg.copy()
    simple.data.query = ["exp", "bias", "reorder"]
    monkeypatch.setattr(build, "build_data", lambda *_: unlabelled(None))
    app.refuse_unlabelled(simple, ["evaluate"])


def test_a_run_folder_of_an_older_version_is_one_clear_error(tmp_path):
    """Its tissue network had a setting that there is none of any more."""
    network = {"_target_": "harmony.networks.TissueNet", "tissues": 3, "widths": [4, 4], "frequencies": 16}
    OmegaConf.save({"tasks": {"tissue": {"network": network}}}, tmp_path / "config.yaml")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"of another version, which built its tissue otherwise.*train it again"):
        app.load_run(tmp_path, "tissue")
