"""ComBat on the judges' numbers: what comes back, and that no true age helps its own prediction."""

import numpy as np
import pytest

from harmony.core import REFERENCE, DataError
from harmony.judges import Cohort, FeatureComBat, fit_combat

RNG = np.random.default_rng(0)
AGES = RNG.uniform(20, 80, 30)
VOLUMES = {"volume_gm_ml": 700 - 2 * AGES + RNG.normal(0, 5, 30), "volume_csf_ml": 200 + AGES + RNG.normal(0, 5, 30)}
NOISE = RNG.normal(0, 3, 30)


def measured(subjects, gain=1.0, shift=0.0, ages=AGES, **more):
    """Subject -> what the judges measure as a scanner with this gain and shift makes it."""
    found = {}
    for k in subjects:
        predicted = gain * (AGES[k] + NOISE[k]) + shift
        numbers = {name: gain * value[k] + shift for name, value in VOLUMES.items()} | {"age_predicted": predicted}
        if ages is not None:
            numbers |= {"age_signed_error": predicted - ages[k], "age_error": abs(predicted - ages[k])}
        found[f"s{k:02}"] = numbers | more
    return found


def concluded(reference, query, domain="far", *, empirical_bayes=False, people=None):
    judge = FeatureComBat(empirical_bayes=empirical_bayes)
    kept = [{name: judge.observe(None, None, numbers) for name, numbers in of.items()} for of in (query, reference)]
    return judge.conclude(Cohort(domain, *kept, people or {}))


def values(found, metric):
    return np.array(list(found.get(metric, {}).values()))


def test_a_shifted_scanner_comes_back_to_the_reference():
    found = concluded(measured(range(30)), measured(range(30), shift=40.0))
    for name, true in VOLUMES.items():
        assert list(found[name]) == [f"s{k:02}" for k in range(30)]
        np.testing.assert_allclose(values(found, name), true, atol=0.5)
    np.testing.assert_allclose(values(found, "age_predicted"), AGES + NOISE, atol=1)
    np.testing.assert_allclose(values(found, "age_signed_error"), values(found, "age_predicted") - AGES)
    np.testing.assert_allclose(values(found, "age_error"), np.abs(values(found, "age_signed_error")))


def test_another_age_mix_is_no_shift_of_volumes():
    """The same scanner, older subjects: with age known nothing moves; without, the difference of age is taken away."""
    order = np.argsort(AGES)
    young, old = order[:15], order[15:]
    kept = concluded(measured(young), measured(old))
    lost = concluded(measured(young, ages=None), measured(old, ages=None))
    true, reference = VOLUMES["volume_gm_ml"][old].mean(), VOLUMES["volume_gm_ml"][young].mean()
    assert abs(values(kept, "volume_gm_ml").mean() - true) < 0.2 * abs(true - reference)
    assert values(lost, "volume_gm_ml").mean() == pytest.approx(reference)
    assert "age_error" not in lost


def test_a_true_age_does_not_help_to_predict_itself():
    reference = measured(range(15))
    first = concluded(reference, measured(range(15, 30), 1.1, 5.0), empirical_bayes=True)
    second = concluded(reference, measured(range(15, 30), 1.1, 5.0, ages=AGES[::-1]), empirical_bayes=True)
    np.testing.assert_array_equal(values(first, "age_predicted"), values(second, "age_predicted"))
    assert not np.array_equal(values(first, "age_error"), values(second, "age_error"))


def test_a_predicted_age_is_fitted_among_the_volumes():
    """Empirical Bayes shrinks it towards them: the same as the last column of a fit to all, and not as one alone."""
    reference, query = measured(range(15)), measured(range(15, 30), 1.1, 5.0)
    found = values(concluded(reference, query, empirical_bayes=True), "age_predicted")
    names = ["volume_csf_ml", "volume_gm_ml", "age_predicted"]
    table = np.array([[each[name] for name in names] for side in (reference, query) for each in side.values()])
    site = [REFERENCE] * 15 + ["far"] * 15
    among = fit_combat(table, site, reference=REFERENCE).apply(table, site)[15:, -1]
    one = table[:, -1:]
    alone = fit_combat(one, site, reference=REFERENCE, empirical_bayes=False).apply(one, site)[15:, 0]
    np.testing.assert_allclose(found, among)
    assert np.abs(found - alone).max() > 0.01


def test_what_it_costs_on_the_reference_is_seen_on_halves_of_its_people():
    """Each half is brought to the other: by the level and spread of half the people, and all have their rows."""
    people = measured(range(20), ages=None)
    after = concluded(people, people, REFERENCE)["volume_gm_ml"]
    before = {name: each["volume_gm_ml"] for name, each in people.items()}
    assert set(after) == set(before)
    halves = sorted(before)[::2], sorted(before)[1::2]
    for ours, theirs in (halves, halves[::-1]):
        assert np.mean([after[s] for s in ours]) == pytest.approx(np.mean([before[s] for s in theirs]))
        # ComBat takes the spread of one over n, of the other over n - 1
        spread = np.std([before[s] for s in theirs]) * np.sqrt(9 / 10)
        assert np.std([after[s] for s in ours]) == pytest.approx(spread)
    assert max(abs(after[s] - before[s]) for s in before) > 1  # it is not without a cost
    with pytest.raises(DataError, match="fewer than 2 subjects"):
        concluded(measured(range(3)), measured(range(3)), REFERENCE)


def test_it_is_fitted_to_people_and_applied_to_scans():
    """A second session that is a copy of the first changes nothing for anybody, and has its own answers."""
    reference, query = measured(range(15)), measured(range(15, 30), 1.1, 5.0)
    once = concluded(reference, query, empirical_bayes=True)
    people = {f"{name}_2": name for name in ("s03", "s20", "s21")}
    again = [
        side | {f"{name}_2": side[name] for name in people.values() if name in side} for side in (reference, query)
    ]
    twice = concluded(*again, empirical_bayes=True, people=people)
    for metric, found in twice.items():
        assert set(found) == {*once[metric], "s20_2", "s21_2"}
        for scan, value in found.items():
            assert value == pytest.approx(once[metric][people.get(scan, scan)])


def test_too_few_subjects_are_an_error():
    with pytest.raises(DataError, match="fewer than 2 subjects of site b"):
        concluded(measured(range(5)), measured([1]), "b", empirical_bayes=True)


def test_a_number_that_does_not_vary_is_left_out():
    flat = {"volume_wm_ml": 0.0}
    found = concluded(measured(range(5), **flat), measured(range(5), shift=10.0, **flat), empirical_bayes=True)
    assert {"volume_gm_ml", "volume_csf_ml", "age_predicted"} <= set(found)
    assert "volume_wm_ml" not in found


def test_it_keeps_the_numbers_it_needs_exactly():
    kept = FeatureComBat(empirical_bayes=True).observe(None, None, {"volume_gm_ml": 1 / 3, "dice": 0.5})
    assert {name: float(value) for name, value in kept.items()} == {"volume_gm_ml": 1 / 3}
