"""ComBat on the judges' numbers: what comes back, and that no true age helps its own prediction."""

from dataclasses import replace

import numpy as np
import pytest

from harmony.core import REFERENCE, DataError, Row
from harmony.downstream import FeatureComBat, fit_combat

RNG = np.random.default_rng(0)
AGES = RNG.uniform(20, 80, 30)
VOLUMES = {"volume_gm_ml": 700 - 2 * AGES + RNG.normal(0, 5, 30), "volume_csf_ml": 200 + AGES + RNG.normal(0, 5, 30)}
NOISE = RNG.normal(0, 3, 30)


def measured(domain, subjects, gain=1.0, shift=0.0, ages=AGES):
    """Numbers of the subjects as a scanner with this gain and shift makes the judges measure them."""
    rows = []
    for k in subjects:
        rows += [Row("none", domain, f"s{k}", name, gain * value[k] + shift) for name, value in VOLUMES.items()]
        predicted = gain * (AGES[k] + NOISE[k]) + shift
        rows += [Row("none", domain, f"s{k}", "age_predicted", predicted)]
        if ages is not None:
            rows += [
                Row("none", domain, f"s{k}", "age_signed_error", predicted - ages[k]),
                Row("none", domain, f"s{k}", "age_error", abs(predicted - ages[k])),
            ]
    return rows


def values(rows, metric):
    return np.array([row.value for row in rows if row.metric == metric])


def test_a_shifted_scanner_comes_back_to_the_reference():
    rows = measured(REFERENCE, range(30)) + measured("far", range(30), shift=40.0)
    found = FeatureComBat(empirical_bayes=False).rows("combat", "far", rows)
    assert {(row.method, row.domain) for row in found} == {("combat", "far")}
    for name, true in VOLUMES.items():
        np.testing.assert_allclose(values(found, name), true, atol=0.5)
    np.testing.assert_allclose(values(found, "age_predicted"), AGES + NOISE, atol=1)
    np.testing.assert_allclose(values(found, "age_signed_error"), values(found, "age_predicted") - AGES)
    np.testing.assert_allclose(values(found, "age_error"), np.abs(values(found, "age_signed_error")))


def test_another_age_mix_is_no_shift_of_volumes():
    """The same scanner, older subjects: with age known nothing moves; without, the difference of age is taken away."""
    order = np.argsort(AGES)
    young, old = order[:15], order[15:]
    combat = FeatureComBat(empirical_bayes=False)
    kept = combat.rows("combat", "same", measured(REFERENCE, young) + measured("same", old))
    lost = combat.rows("combat", "same", measured(REFERENCE, young, ages=None) + measured("same", old, ages=None))
    true, reference = VOLUMES["volume_gm_ml"][old].mean(), VOLUMES["volume_gm_ml"][young].mean()
    assert abs(values(kept, "volume_gm_ml").mean() - true) < 0.2 * abs(true - reference)
    assert values(lost, "volume_gm_ml").mean() == pytest.approx(reference)
    assert len(values(lost, "age_error")) == 0


def test_a_true_age_does_not_help_to_predict_itself():
    combat = FeatureComBat(empirical_bayes=True)
    first = combat.rows("combat", "b", measured(REFERENCE, range(15)) + measured("b", range(15, 30), 1.1, 5.0))
    other = measured(REFERENCE, range(15)) + measured("b", range(15, 30), 1.1, 5.0, ages=AGES[::-1])
    second = combat.rows("combat", "b", other)
    np.testing.assert_array_equal(values(first, "age_predicted"), values(second, "age_predicted"))


def test_a_predicted_age_is_fitted_among_the_volumes():
    """Empirical Bayes shrinks it towards them: the same as the last column of a fit to all, and not as one alone."""
    rows = measured(REFERENCE, range(15)) + measured("b", range(15, 30), 1.1, 5.0)
    found = values(FeatureComBat(empirical_bayes=True).rows("combat", "b", rows), "age_predicted")
    names = ["volume_csf_ml", "volume_gm_ml", "age_predicted"]
    table = np.array([[row.value for row in rows if row.metric == name] for name in names]).T
    site = [REFERENCE] * 15 + ["b"] * 15
    among = fit_combat(table, site, reference=REFERENCE).apply(table, site)[15:, -1]
    alone = fit_combat(table[:, -1:], site, reference=REFERENCE, empirical_bayes=False).apply(table[:, -1:], site)[
        15:, 0
    ]
    np.testing.assert_allclose(found, among)
    assert np.abs(found - alone).max() > 0.01


def test_only_unharmonized_scans_are_used():
    rows = measured(REFERENCE, range(15)) + measured("b", range(15, 30), shift=10.0)
    others = [replace(row, method="harmonizer", value=row.value + 1000) for row in rows]
    combat = FeatureComBat(empirical_bayes=False)
    assert combat.rows("combat", "b", [*others, *rows, *others]) == combat.rows("combat", "b", rows)


def test_what_it_costs_on_the_reference_is_seen_on_halves_of_its_people():
    """Each half is brought to the other: by the level and spread of half the people, and all have their rows."""
    combat = FeatureComBat(empirical_bayes=False)
    rows = measured(REFERENCE, range(20), ages=None) + measured("b", range(20, 30), shift=10.0, ages=None)
    found = combat.rows("combat", REFERENCE, rows)
    assert {row.domain for row in found} == {REFERENCE}
    assert {row.subject for row in found} == {f"s{k}" for k in range(20)}
    before = {r.subject: r.value for r in rows if r.domain == REFERENCE and r.metric == "volume_gm_ml"}
    after = {r.subject: r.value for r in found if r.metric == "volume_gm_ml"}
    halves = sorted(before)[::2], sorted(before)[1::2]
    for ours, theirs in (halves, halves[::-1]):
        assert np.mean([after[s] for s in ours]) == pytest.approx(np.mean([before[s] for s in theirs]))
        spread = np.std([before[s] for s in theirs]) * np.sqrt(
            9 / 10
        )  # ComBat takes the one over n, the other over n - 1
        assert np.std([after[s] for s in ours]) == pytest.approx(spread)
    assert max(abs(after[s] - before[s]) for s in before) > 1  # it is not without a cost
    with pytest.raises(DataError, match="fewer than 2 subjects"):
        combat.rows("combat", REFERENCE, measured(REFERENCE, range(3)))


def test_it_is_fitted_to_people_and_applied_to_scans():
    """A second session that is a copy of the first changes nothing for anybody, and has its own rows."""
    rows = measured(REFERENCE, range(15)) + measured("b", range(15, 30), 1.1, 5.0)
    again = [replace(row, scan=f"{row.subject}_2") for row in rows if row.subject in ("s3", "s20", "s21")]
    combat = FeatureComBat(empirical_bayes=True)
    once = {(r.subject, r.metric): r.value for r in combat.rows("combat", "b", rows)}
    twice = combat.rows("combat", "b", rows + again)
    assert len(twice) == len(once) + sum(key[0] in ("s20", "s21") for key in once)
    assert {row.scan for row in twice if row.subject == "s20"} == {"s20", "s20_2"}
    for row in twice:
        assert row.value == pytest.approx(once[row.subject, row.metric])


def test_too_few_subjects_are_an_error():
    with pytest.raises(DataError, match="fewer than 2 subjects of site b"):
        FeatureComBat(empirical_bayes=True).rows("combat", "b", measured(REFERENCE, range(5)) + measured("b", [1]))


def test_a_number_that_does_not_vary_is_left_out():
    flat = [Row("none", domain, f"s{k}", "volume_wm_ml", 0.0) for domain in (REFERENCE, "b") for k in range(5)]
    rows = measured(REFERENCE, range(5)) + measured("b", range(5), shift=10.0) + flat
    found = FeatureComBat(empirical_bayes=True).rows("combat", "b", rows)
    assert {"volume_gm_ml", "volume_csf_ml", "age_predicted"} <= {row.metric for row in found}
    assert "volume_wm_ml" not in {row.metric for row in found}
