"""ComBat on the judges' numbers: what comes back, and that no true age helps its own prediction."""

import numpy as np
import pytest

from harmony.core import DataError
from harmony.judges import Cohort, FeatureComBat

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


def concluded(reference, query, domain="far", *, empirical_bayes=False):
    judge = FeatureComBat(empirical_bayes=empirical_bayes)
    kept = [{name: judge.observe(None, None, numbers) for name, numbers in of.items()} for of in (query, reference)]
    return judge.conclude(Cohort(domain, *kept))


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
