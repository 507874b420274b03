"""ComBat on the judges' numbers: what comes back, and that no true age helps its own prediction."""

import numpy as np
import pytest

from harmony.core import REFERENCE, DataError, Row
from harmony.judges import FeatureComBat

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


def test_too_few_subjects_are_an_error():
    with pytest.raises(DataError, match="fewer than 2 subjects of site b"):
        FeatureComBat(empirical_bayes=True).rows("combat", "b", measured(REFERENCE, range(5)) + measured("b", [1]))


def test_a_number_that_does_not_vary_is_left_out():
    flat = [Row("none", domain, f"s{k}", "volume_wm_ml", 0.0) for domain in (REFERENCE, "b") for k in range(5)]
    rows = measured(REFERENCE, range(5)) + measured("b", range(5), shift=10.0) + flat
    found = FeatureComBat(empirical_bayes=True).rows("combat", "b", rows)
    assert {"volume_gm_ml", "volume_csf_ml", "age_predicted"} <= {row.metric for row in found}
    assert "volume_wm_ml" not in {row.metric for row in found}
