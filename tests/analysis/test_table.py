"""One table behind everything that is shown: by hand, and the same numbers wherever they are asked for."""

from math import nan
from pathlib import Path

import pytest

from harmony.analysis import Comparison, Entry, EvaluatedRun, Group, SweepJob, best, pooled, result_table
from harmony.analysis.identity import job_settings, labels
from harmony.analysis.sweeps import over_seeds
from harmony.core import Row


def rows(shift=0.0, left_out=()):
    values = {("none", "s1"): 20.0, ("none", "s2"): 22.0, ("hm", "s1"): 24.0, ("hm", "s2"): 23.0}
    return [
        Row(method, "exp", subject, "psnr", value + shift)
        for (method, subject), value in values.items()
        if (method, subject) not in left_out
    ]


SEEDS = (rows(), rows(1.0))


def test_seeds_are_pooled_by_subject():
    table = result_table(*SEEDS)
    assert table.values["exp", "hm", "psnr"] == {"s1": 24.5, "s2": 23.5}
    cell = table.cell(("exp", "hm", "psnr"))
    assert (cell.interval.mean, cell.by_seed) == (24.0, [23.5, 24.5])
    assert cell.spread == pytest.approx(0.5**0.5)
    assert result_table(SEEDS[0]).cell(("exp", "hm", "psnr")).spread is None


def test_page_sweep_and_screen_say_the_same():
    tables = [result_table(each) for each in SEEDS]
    runs = [EvaluatedRun(Path("x"), {"seed": k}, each, {}, {}) for k, each in enumerate(SEEDS)]
    comparison = Comparison([Group("", runs)])
    sweep = over_seeds([SweepJob({"seed": str(k)}, {}, table) for k, table in enumerate(tables)])
    screen = result_table(*SEEDS)
    for method in ("none", "hm"):
        cells = [
            screen.cell(("exp", method, "psnr")),
            pooled(tables).cell(("exp", method, "psnr")),
            comparison.cells[Entry(method, 0), "exp", "psnr"],
            sweep["exp", "", method, "psnr"],
        ]
        assert all(cell == cells[0] for cell in cells)
    test = comparison.tests[Entry("hm", 0), "exp", "psnr"].against
    assert test == screen.against("exp", "hm", "psnr")
    assert test.difference.mean == 2.5


@pytest.mark.parametrize("bad", [rows(left_out=[("hm", "s2")]), [*rows()[:3], Row("hm", "exp", "s2", "psnr", nan)]])
def test_a_subject_without_a_value_in_every_seed_is_left_out(bad):
    table = result_table(rows(), bad)
    assert table.values["exp", "hm", "psnr"] == {"s1": 24.0}
    assert table.cells["exp", "hm", "psnr"].subjects == 1
    assert table.values["exp", "none", "psnr"] == {"s1": 20.0, "s2": 22.0}


def test_what_is_off_by_hand():
    found = [Row("none", "reference", "s1", "volume_gm_ml", 10.0), Row("hm", "exp", "s1", "volume_gm_ml", 7.0)]
    assert result_table(found).off("exp", "hm", "volume_gm_ml") == 3
    assert result_table(found).off("exp", "none", "volume_gm_ml") is None


def test_the_best_follows_the_direction_and_may_be_two():
    means = {"a": 1.0, "b": 2.0, "c": 2.0}
    assert best(means, "psnr") == ["b", "c"]
    assert best(means, "hd95") == ["a"]
    assert best(means, "bpd") == []
    assert best({"a": 1.0, "b": 1.0}, "psnr") == []


def test_what_sets_runs_apart():
    settings = [{"flow.steps": 2, "x": 1}, {"flow.steps": 4, "x": 1, "method.a.b": 3}]
    assert labels(settings) == ["flow.steps=2", "flow.steps=4, a.b=3"]
    assert labels(settings[:1]) == [""]
    assert job_settings([{"seed": "1", "data.sites": "[A]"}, {"seed": "2", "data.sites": "[B]"}]) == [
        "reference=[A]", "reference=[B]",
    ]  # fmt: skip
