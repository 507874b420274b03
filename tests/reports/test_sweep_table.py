"""A sweep's table by hand: mean and deviation over seeds, and the best."""

import math

import pytest

from harmony.analysis import SweepJob, result_table
from harmony.analysis.sweeps import over_seeds, settings, winners
from harmony.core import Row
from harmony.core.vocabulary import RESULTS, TRAINING, Metric, result_metric
from harmony.reports import print_sweep
from harmony.reports.tables import SHOWN
from harmony.tasks import AgeTask, FlowTask, HarmonizerTask, SegmenterTask


def job(seed, steps, psnr, bpd=3.0):
    rows = [Row("a", "exp", "s1", "psnr", psnr - 1), Row("a", "exp", "s2", "psnr", psnr + 1)]
    rows += [Row("none", "exp", "s1", "psnr", 20.0), Row("a", "exp", "s1", "bpd", bpd)]
    overrides = {"experiment": "x", "seed": str(seed), "flow.steps": str(steps)}
    return SweepJob(overrides=overrides, scores={"flow": psnr / 10}, results=result_table(rows))


JOBS = [job(1, 2, 30.0), job(2, 2, 34.0), job(1, 4, 31.0), job(2, 4, 31.0)]


def test_jobs_that_differ_by_the_seed_alone_belong_together():
    assert settings(JOBS) == ["flow.steps=2"] * 2 + ["flow.steps=4"] * 2
    assert settings(JOBS[:2]) == ["", ""]


def test_mean_and_deviation_over_seeds_by_hand():
    cells = over_seeds(JOBS)
    two = cells["exp", "flow.steps=2", "a", "psnr"]
    assert (two.interval.mean, two.spread) == pytest.approx((32.0, math.sqrt(8)))
    assert two.by_seed == [30.0, 34.0]
    assert two.text(1) == "32.0 ±2.8"
    assert over_seeds(JOBS[:1])["exp", "", "a", "psnr"].text(1) == "30.0"


def test_the_best_is_marked_where_a_direction_is_better(monkeypatch, capsys):
    cells = over_seeds(JOBS)
    assert winners(cells) == {("exp", "flow.steps=2", "a", "psnr")}
    monkeypatch.setitem(RESULTS, "psnr", Metric("error", "lower"))
    assert {key[2] for key in winners(cells)} == {"none"}
    monkeypatch.undo()
    print_sweep(JOBS, title="x")
    printed = capsys.readouterr().out
    assert "32.0 ±2.8*" in printed
    assert "3.200 ±0.283" in printed


def test_reference_sites_are_named_and_not_compared(capsys):
    jobs = []
    for site, query, psnr in (("[A]", "B", 20.0), ("[B]", "A", 10.0), ("[C]", "A", 30.0)):
        rows = [Row("none", query, "s", "psnr", psnr), Row("hm", query, "s", "psnr", psnr + 1)]
        jobs.append(SweepJob({"experiment": "x", "data.sites": site}, {}, result_table(rows)))
    assert settings(jobs) == ["reference=[A]", "reference=[B]", "reference=[C]"]
    assert {key[:3] for key in winners(over_seeds(jobs))} == {
        ("B", "reference=[A]", "hm"), ("A", "reference=[B]", "hm"), ("A", "reference=[C]", "hm"),
    }  # fmt: skip
    print_sweep(jobs, title="x")
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("reference=[A]", "21.0*", "11.0*", "31.0*"))


def test_the_mean_over_query_domains_leaves_the_reference_out():
    rows = [
        Row("a", "reference", "s", "psnr", 100.0),
        Row("a", "exp", "s", "psnr", 20.0),
        Row("a", "mix", "s", "psnr", 30.0),
    ]
    assert result_table(rows).query_means() == {"mean/a/psnr": 25.0}


def test_the_vocabulary_covers_what_is_trained_and_what_is_shown():
    assert {task.monitor for task in (AgeTask, FlowTask, HarmonizerTask, SegmenterTask)} <= set(TRAINING)
    assert all(result_metric(name) for name in SHOWN)
