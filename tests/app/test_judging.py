"""One evaluation pass asks all judges: what they see, what they say, what a second start keeps."""

import contextlib
import csv
import dataclasses
import functools
import inspect
import io
import json

import numpy as np
import pytest
import torch
from commands import TINY, untrained
from hydra import compose, initialize_config_dir

from harmony import app, judging
from harmony.core import ConfigError, DataError, Row, Stack
from harmony.core.interrupts import Interrupted
from harmony.domains import query_domains
from harmony.downstream import AdaptiveJudge, FeatureComBat, Judge, SiteProbe, Truth
from harmony.evaluate import evaluate

JUDGES = ["tissue", "age", "site", "bigaug", "tent", "combat"]
SMALL = [
    *TINY,
    "logger=csv",
    "methods=[none,histogram_matching]",
    f"evaluation.judges=[{','.join(JUDGES)}]",
    "evaluation.subjects=3",
    "data.source.subjects=14",
    "data.query=[exp]",
    "tasks.segmenter.network.widths=[4,8]",
    "tasks.age.network.widths=[4,8]",
]


class Spy(AdaptiveJudge):
    """Writes down what it is given; its score is the mean grey level."""

    metric, baseline = "dice", "nothing"

    def __init__(self):
        self.seen, self.log = [], []

    def score(self, *given):
        self.seen.append(given)
        return {"dice": float(given[0].image.mean())}

    def trivial(self, stack, truth):
        return 0.1

    def adapt(self, stacks):
        self.log.append(("adapt", len(stacks)))

    def reset(self):
        self.log.append("reset")


def stack(level):
    image = torch.full((3, 1, 4, 4), level)
    return Stack(image, image > 0, torch.linspace(0, 1, 3))


TRUTH = Truth("sub-1", (1.0, 1.0, 1.0), None, None)


def test_a_judge_sees_the_image_and_the_truth_and_nothing_else():
    spy, rival = Spy(), Spy()
    jury = judging.Jury({"tissue": spy}, {"tent": rival})
    images = {"none": stack(0.25).image, "blindharmony": stack(0.5).image, "other": stack(0.5).image}
    rows = jury.rows("exp", stack(0.25), TRUTH, images)
    assert rows == [
        Row("none", "exp", "sub-1", "dice", 0.25),
        Row("blindharmony", "exp", "sub-1", "dice", 0.5),
        Row("other", "exp", "sub-1", "dice", 0.5),
        Row("tent", "exp", "sub-1", "dice", 0.25),
    ]
    assert all([type(each) for each in given] == [Stack, Truth] for given in spy.seen)
    assert "blindharmony" not in repr([given[1] for given in spy.seen])
    assert len(rival.seen) == 1
    for kind in Judge.__subclasses__():
        assert list(inspect.signature(kind.score).parameters)[:3] in (["self", "stack", "truth"], ["self", "given"])


def test_an_adaptive_judge_starts_afresh_in_each_domain():
    spy = Spy()
    jury = judging.Jury({}, {"tent": spy})
    jury.adapt([stack(0.2)] * 2)
    jury.adapt([stack(0.3)] * 5)
    assert spy.log == ["reset", ("adapt", 2), "reset", ("adapt", 5)]


def test_quality_by_hand():
    good = judging.quality("age", "age_error", "the mean", by_subject((2.0, 9.0), (3.0, 10.0), (2.5, 8.0)))
    assert (good.value, good.trivial, good.subjects, good.able) == (2.5, 9.0, 3, True)
    assert good.line() == "  age: age_error 2.500 (n=3); the mean: 9.000"
    bad = judging.quality("age", "age_error", "the mean", by_subject((9.0, 9.0), (13.0, 10.0), (6.5, 8.0)))
    assert not bad.able
    assert "CANNOT" in bad.line()
    assert judging.quality("tissue", "dice", "x", by_subject((0.9, 0.3), (0.8, 0.2), (0.9, 0.2))).able  # larger: better
    assert not judging.quality("tissue", "dice", "x", {}).able


def by_subject(*pairs):
    return {f"s{k}": [pair] for k, pair in enumerate(pairs)}


def test_able_takes_three_subjects_a_margin_and_the_worse_end_of_the_interval():
    def able(*gains, metric="site_frozen"):
        return judging.quality("site", metric, "a coin", by_subject(*((0.5 + g, 0.5) for g in gains)), sign=1).able

    assert not able(0.01)  # a judge of one subject with 0.51 against 0.5
    assert not able(0.4, 0.4)
    assert able(0.4, 0.4, 0.4)
    assert not able(0.04, 0.04, 0.04)  # sure of a difference that does not matter
    assert not able(0.4, 0.0, 0.5)  # by the mean only
    assert able(0.06, 0.06, 0.06)


def test_two_sessions_of_a_person_count_once_in_a_quality():
    found = judging.quality("tissue", "dice", "x", {"a": [(0.9, 0.3), (0.7, 0.1)], "b": [(0.6, 0.2)]})
    assert (found.subjects, found.value, found.trivial) == (2, pytest.approx(0.7), pytest.approx(0.2))


def test_site_rows_of_two_methods(tmp_path):
    probe = SiteProbe(quantiles=[0.5], scales=[1], penalties=[0.1, 1.0], folds=3)
    jury = judging.Jury(probe=probe)
    subjects = {f"sub-{k}": stack(0.5 + 0.01 * k) for k in range(6)}
    reference = {name: [probe.features(each)] for name, each in subjects.items()}
    jury.frozen["exp"] = probe.fit(reference, {name: [probe.features(stack(0.2))] for name in subjects})
    kept = {name: (name, tmp_path / f"exp-{name}.safetensors") for name in subjects}
    for name, (_, path) in kept.items():
        jury.keep(path, subjects[name], subjects[name], {"none": stack(0.2).image, "perfect": subjects[name].image})
    found = jury.site_rows("exp", kept)
    for method, expected in (("none", 1), ("perfect", 0.5)):
        for metric in ("site_frozen", "site_retrained"):
            values = {row.subject: row.value for row in found if (row.method, row.metric) == (method, metric)}
            assert values == dict.fromkeys(subjects, expected)
    assert len(found) == 2 * 2 * 6
    assert jury.site_rows("reference", kept) == []
    people = {name: (f"person-{k // 2}", path) for k, (name, (_, path)) in enumerate(kept.items())}
    by_scan = {(row.scan, row.subject) for row in jury.site_rows("exp", people)}
    assert by_scan == {(name, person) for name, (person, _) in people.items()}


def test_a_frozen_probe_learns_from_training_people_alone(cfg):
    """What it is fitted to, and what it is asked about: people of different parts, one by one."""

    class Spy(SiteProbe):
        def fit(self, reference, query):
            fitted.append((set(reference), set(query)))
            return super().fit(reference, query)

        def ask(self, classifier, reference, query):
            asked.append((set(reference), set(query)))
            return super().ask(classifier, reference, query)

    fitted, asked = [], []
    spy = Spy(quantiles=[0.5], scales=[1], penalties=[1.0], folds=3)
    data = app.build_data(cfg)
    train, test = data.volumes("train"), data.volumes("test")[:3]
    domains = query_domains(cfg, data)
    jury = judging.Jury(probe=spy)
    judging.fit_probes(cfg, jury, spy, train, test, domains)
    people = [{volume.scan.subject for volume in part} for part in (train, test)]
    assert fitted == [(people[0], people[0])]
    assert asked == [(people[1], people[1])]
    assert set(jury.reference) == people[1]


def test_combat_is_given_the_numbers_of_unharmonized_scans():
    """Rows of all methods go in; what comes out depends on `none` alone, and the reference has its rows too."""
    rng = np.random.default_rng(0)
    rows = [Row("none", domain, f"s{k}", f"volume_{name}_ml", rng.normal(500 + 50 * (domain == "exp"), 20))
            for domain in ("reference", "exp") for k in range(8) for name in ("gm", "wm")]  # fmt: skip
    others = [dataclasses.replace(row, method="harmonizer", value=3 * row.value) for row in rows]
    jury = judging.Jury(numbers={"combat": FeatureComBat(empirical_bayes=True)})
    found = jury.number_rows([*others, *rows])
    assert found == jury.number_rows(rows)
    assert {row.domain for row in found} == {"reference", "exp"}


def config(*overrides):
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        return compose("config", overrides=[*SMALL, *overrides])


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
    for metric in ("age_predicted", "age_error", "age_signed_error"):
        assert by_metric[metric] == images | {("combat", "exp")}, metric
    for metric in ("dice", "iou", "hd95", "dice_csf", "hd95_gm", "iou_wm", "missed", "invented"):
        assert by_metric[metric] == images | rivals, metric
    assert by_metric["volume_gm_ml"] == images | rivals | {("combat", "exp")}
    for metric in ("site_frozen", "site_retrained"):
        assert by_metric[metric] == {(method, "exp") for method in methods}, metric
    summary = json.loads((first[0] / "summary.json").read_text())
    assert [each["judge"] for each in summary["judges"]] == ["tissue", "age", "bigaug", "tent", "site exp"]
    assert set(summary["against_none"]["exp"]) == {"histogram_matching", "bigaug", "tent", "combat"}
    assert "gm_ml_per_year" in summary["biology"]["exp"]["none"]


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
    assert "  tissue: dice" in output
    assert output.index("  tissue: dice") < output.index("histogram_matching")


def test_a_mistake_in_the_choice_of_judges_is_one_clear_error(cfg):
    with pytest.raises(ConfigError, match=r"evaluation\.judges.*tisue.*tissue"):
        app.check(config("evaluation.judges=[tisue]"))
    data = app.build_data(cfg)
    networks = {stage: app.load_network(cfg, data, stage) for stage in app.models_wanted(cfg)}
    clash = config("methods=[none,tent]", "+method.tent={_target_: harmony.methods.Unharmonized}")
    with pytest.raises(ConfigError, match=r"judge\.tent: there is a method of this name"):
        judging.assemble(clash, data, networks)
    with pytest.raises(ConfigError, match=r"sees=nothing"):
        judging.assemble(config("judge.tissue.sees=nothing"), data, networks)
    for scan in data.split()["train"]:
        object.__setattr__(scan, "age", None)
    with pytest.raises(ConfigError, match="age needs ages"):
        judging.assemble(cfg, data, networks)


def test_judges_without_labels_say_so(cfg):
    data = app.build_data(cfg)
    volumes = data.volumes("test")[:1]
    object.__setattr__(volumes[0], "labels", None)
    networks = {stage: app.load_network(cfg, data, stage) for stage in app.models_wanted(cfg)}
    with pytest.raises(DataError, match=r"data\.labels=.*evaluation\.judges="):
        judging.examine(cfg, judging.assemble(cfg, data, networks), data, volumes, [])
