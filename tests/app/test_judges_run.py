"""One evaluation pass asks all judges: what they see, what they say, what a second start keeps."""

import contextlib
import csv
import functools
import io
import json

import pytest
from commands import TINY, untrained
from configs import composed

from harmony import app
from harmony.core import ConfigError, DataError
from harmony.core.interrupts import Interrupted
from harmony.evaluate import evaluate

JUDGES = ["segmentation", "age", "site", "bigaug", "tent", "combat"]
SMALL = [
    *TINY,
    "logger=csv",
    "evaluation.figure_subjects=1",
    "methods=[none,histogram_matching]",
    f"evaluation.judges=[{','.join(JUDGES)}]",
    "evaluation.subjects=3",
    "data.source.subjects=14",
    "data.query=[exp]",
    "tasks.segmenter.network.widths=[4,8]",
    "tasks.age.network.widths=[4,8]",
]


def config(*overrides):
    return composed(*SMALL, *overrides)


@pytest.fixture(scope="module")
def cfg(tmp_path_factory, cache):
    """A tiny experiment whose networks are there, as training would leave them, with random weights."""
    runs = tmp_path_factory.mktemp("judging")
    cfg = config(f"runs={runs}", f"cache={cache}")
    untrained(cfg)
    return cfg


@pytest.fixture(scope="module")
def first(cfg, tmp_path_factory):
    """The folder and the output of one whole evaluation."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        evaluate(cfg)
    return app.experiment_run(cfg, app.build_data(cfg)).path, output.getvalue()


def read(run):
    rows = list(csv.DictReader((run / "results.csv").open()))
    return {tuple(row[key] for key in ("method", "domain", "subject", "metric")): row["value"] for row in rows}


def test_every_judge_has_its_rows(first):
    found = read(first[0])
    by_metric = {}
    for method, domain, _, metric in found:
        by_metric.setdefault(metric, set()).add((method, domain))
    methods, domains = ("none", "histogram_matching"), ("reference", "exp")
    images = {(method, domain) for method in methods for domain in domains}
    rivals = {(rival, domain) for rival in ("bigaug", "tent") for domain in domains}
    assert by_metric["psnr"] == images
    assert (
        "combat says nothing of reference: fewer than 2 subjects" in first[1]
    )  # of three people, halves of two and one
    for metric in ("age_predicted", "age_error", "age_signed_error"):
        assert by_metric[metric] == images | {("combat", "exp")}, metric
    for metric in ("dice", "iou", "hd95", "dice_csf", "hd95_gm", "iou_wm", "missed", "invented"):
        assert by_metric[metric] == images | rivals, metric
    assert by_metric["volume_gm_ml"] == images | rivals | {("combat", "exp")}
    for metric in ("site_frozen", "site_retrained"):
        assert by_metric[metric] == {(method, "exp") for method in methods}, metric
    summary = json.loads((first[0] / "summary.json").read_text())
    assert [each["judge"] for each in summary["judges"]] == ["segmentation", "age", "bigaug", "tent", "site exp"]
    assert set(summary["against_none"]["exp"]) == {"histogram_matching", "bigaug", "tent", "combat"}
    assert "gm_ml_per_year" in summary["biology"]["exp"]["none"]
    assert summary["agreement"]["none"]["volume_gm_ml"]["scanners"] == 2


def test_quality_is_printed_before_anything_is_scored(first):
    _, output = first
    lines = output.splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("judges on untouched"))
    assert at < next(k for k, line in enumerate(lines) if line.endswith(" dB"))
    (age,) = (line for line in lines if line.startswith("  age: age_error"))
    assert "n=3" in age
    assert "CANNOT do its task" in age  # its weights are random: it says about the age it starts from
    assert any(line.startswith("  site exp: site_frozen") for line in lines)


def test_figures_of_the_judges(first):
    names = {path.name for path in (first[0] / "figures").glob("*.png")}
    assert "dice.png" in names
    assert sum(name.endswith("-labels.png") for name in names) == 2


def test_a_stopped_evaluation_keeps_the_judges_rows(cfg, first, monkeypatch):
    run, _ = first
    before = read(run)
    kept = sorted((run / "parts").iterdir())
    for path in [*kept[len(kept) // 2 :], run / "DONE", run / "results.csv"]:
        path.unlink()
    monkeypatch.setattr("harmony.core.interrupts.check", functools.partial(fail_after, calls := []))
    with pytest.raises(Interrupted):
        evaluate(cfg)
    assert (run / "INTERRUPTED").exists()
    assert len(calls) == 2
    monkeypatch.undo()
    evaluate(cfg)
    after = read(run)
    timing = {key for key in before if key[3] == "seconds"}
    assert {key: value for key, value in after.items() if key not in timing} == {
        key: value for key, value in before.items() if key not in timing
    }


def fail_after(calls):
    calls.append(1)
    if len(calls) == 2:
        raise Interrupted(15)


def test_a_finished_evaluation_says_again_how_good_its_judges_are(cfg, first, capsys):
    evaluate(cfg)
    output = capsys.readouterr().out
    assert "reused" in output
    assert "  segmentation: dice" in output
    assert output.index("  segmentation: dice") < output.index("histogram_matching")


def test_judges_of_age_without_ages_say_so(cfg):
    data = app.build_data(cfg)
    networks = app.load_models(cfg, data).networks
    for scan in data.split()["train"]:
        object.__setattr__(scan, "age", None)
    with pytest.raises(ConfigError, match="age needs ages"):
        app.build_panel(cfg, networks, data, [])


def test_judges_without_labels_say_so(cfg):
    data = app.build_data(cfg)
    object.__setattr__(data.volumes("test")[0], "labels", None)
    with pytest.raises(DataError, match=r"data\.labels=.*evaluation\.judges="):
        app.build_panel(cfg, app.load_models(cfg, data).networks, data, [])
