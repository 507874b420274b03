"""Agreement by the table of Shrout & Fleiss, by another program, by hand and by simulation."""

import math

import numpy as np
import pandas as pd
import pytest

from harmony.analysis import agreement, agreements
from harmony.analysis.agreement import between, icc, mean_squares, scanners_of

# Shrout & Fleiss (1979), table 2: four judges on six targets; tables 3 and 4 give mean squares and ICC(2,1) = 0.29.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
SAMPLES = 1000


def by_scanner(table):
    return {f"scanner{j}": {f"p{i}": float(x) for i, x in enumerate(column)} for j, column in enumerate(table.T)}


def test_the_table_of_shrout_and_fleiss():
    assert mean_squares(SHROUT_FLEISS) == pytest.approx((11.24, 32.49, 1.02), abs=0.005)
    assert icc(SHROUT_FLEISS).mean == pytest.approx(0.29, abs=0.005)


@pytest.mark.parametrize(("n", "k"), [(6, 4), (5, 2), (20, 3), (22, 20)])
def test_another_program_says_the_same(n, k):
    rng = np.random.default_rng(n + k)
    table = rng.normal(600, 60, (n, 1)) + rng.normal(0, 20, (1, k)) + rng.normal(0, 30, (n, k))
    table = SHROUT_FLEISS if (n, k) == (6, 4) else table
    pingouin = pytest.importorskip("pingouin")
    pingouin.options["round.column.CI95"] = None
    long = pd.DataFrame([(i, j, table[i, j]) for i in range(n) for j in range(k)], columns=["who", "where", "value"])
    theirs = pingouin.intraclass_corr(long, targets="who", raters="where", ratings="value").set_index("Type")
    line = theirs.loc["ICC(A,1)"]  # McGraw & Wong's name of ICC(2,1)
    assert icc(table)[:3] == pytest.approx((line["ICC"], *line["CI95"]), rel=1e-6)


@pytest.mark.parametrize(("n", "k"), [(10, 4), (20, 3), (20, 10)])
def test_the_interval_covers(n, k):
    """Of the variance between people, scanners have a twentieth, and a tenth is left."""
    rng = np.random.default_rng(n * k)
    truth = 1 / (1 + 0.05 + 0.1)
    found = []
    for _ in range(SAMPLES):
        table = rng.normal(size=(n, 1)) + rng.normal(0, math.sqrt(0.05), (1, k)) + rng.normal(0, math.sqrt(0.1), (n, k))
        found.append(icc(table))
    assert 0.92 < np.mean([each.low <= truth <= each.high for each in found]) < 0.98


def test_an_offset_of_one_scanner_by_hand():
    """Three people of 90, 100 and 110 ml, one scanner 10 ml above: P = 200, S = 150, E = 0, ICC = P / (P + 2 S / 3)."""
    found = agreement(by_scanner(np.array([[90.0, 100], [100, 110], [110, 120]])))
    assert found.icc.mean == pytest.approx(200 / (200 + 2 * 150 / 3))
    assert found.between == pytest.approx(50 / (100 + 50))
    percent = [100 * 10 / middle for middle in (95, 105, 115)]
    assert found.apart.mean == pytest.approx(np.mean(percent))
    assert found.variation.mean == pytest.approx(np.mean(percent) / math.sqrt(2))
    assert (found.icc.subjects, found.scanners) == (3, 2)


def test_scanners_that_say_the_same_agree_and_those_that_say_nothing_do_not_count():
    same = np.tile(np.array([[90.0], [100], [110]]), (1, 4))
    assert tuple(icc(same)) == (1, 1, 1, 3)
    assert between(same) == 0
    assert math.isnan(icc(np.full((4, 3), 7.0)).mean)
    assert agreement(by_scanner(np.full((4, 3), 7.0))).listed()["icc"] == [None, None, None]


def test_only_people_of_every_scanner_count():
    values = by_scanner(SHROUT_FLEISS)
    values["scanner1"]["p0"] = math.nan
    del values["scanner2"]["p1"]
    assert agreement(values).icc == icc(SHROUT_FLEISS[2:])
    assert agreement({"one": values["scanner0"]}) is None
    assert agreement({name: {"p2": 1.0, "p3": 2.0} for name in values}) is None


def test_grey_over_white_of_an_evaluation():
    values = {
        (scanner, "none", f"volume_{tissue}_ml"): {"a": 600.0 + k, "b": 500.0 + k, "c": 400.0}
        for scanner in ("reference", "blur")
        for k, tissue in enumerate(("gm", "wm"))
    }
    assert scanners_of(values, "none", "volume_gm_wm")["blur"]["a"] == 600 / 601
    found = agreements(values)["none"]
    assert set(found) == {"volume_gm_ml", "volume_wm_ml", "volume_gm_wm"}
    assert found["volume_gm_ml"]["icc"] == [1, 1, 1]
    assert found["volume_gm_ml"]["people"] == 3
    assert agreements({("blur", "none", "psnr"): {"a": 1.0, "b": 2.0, "c": 3.0}}) == {}
