"""ComBat against neuroCombat, and its laws: sites agree, age stays, the reference stays, new subjects follow."""

import numpy as np
import pytest

from harmony.core import DataError
from harmony.judges import fit_combat

Y = np.array([[10.0, 4, 7], [12, 5, 8], [11, 7, 6], [14, 6, 9], [18, 9, 6], [15, 11, 4], [20, 8, 5], [17, 12, 9]])
SITE = list("aaaabbbb")
AGE = np.array([30.0, 40, 50, 60, 35, 45, 55, 65])[:, None]
# neuroCombat 0.2.12 on the same table, age preserved.
PUBLISHED = {
    None: [
        [12.3897, 5.8636, 6.4037], [14.7683, 6.9506, 7.4762], [13.3055, 9.3277, 4.8244], [16.9646, 7.8346, 8.3796],
        [15.0182, 7.0386, 6.3149], [13.0961, 8.6544, 5.1107], [16.8114, 6.7479, 6.0223], [14.8894, 9.7726, 9.0496],
    ],
    "a": [
        [10.0, 4.0, 7.0], [12.0, 5.0, 8.0], [11.0, 7.0, 6.0], [14.0, 6.0, 9.0],
        [11.8612, 4.8726, 7.1844], [10.7683, 6.1835, 6.5466], [13.4955, 5.1448, 7.3952], [12.4026, 7.3956, 9.7303],
    ],
}  # fmt: skip


def cohort(subjects=400, features=5, seed=0):
    """Two sites with other means and spreads, and an age effect of 0.05 a year; the younger are at site a."""
    rng = np.random.default_rng(seed)
    site = np.repeat(["a", "b"], subjects // 2)
    at_b = (site == "b")[:, None]
    age = rng.uniform(20, 60, (subjects, 1)) + 20 * at_b
    noise = rng.standard_normal((subjects, features))
    return 5 + 0.05 * age + np.where(at_b, 2 + 1.5 * noise, noise), list(site), age, at_b[:, 0]


@pytest.mark.parametrize("reference", [None, "a"])
def test_it_is_neurocombat(reference):
    found = fit_combat(Y, SITE, AGE, reference=reference).apply(Y, SITE, AGE)
    np.testing.assert_allclose(found, PUBLISHED[reference], atol=2e-4)


def test_location_and_scale_by_hand():
    """Sites (0, 2) and (10, 14): means 1 and 12, pooled level 6.5, pooled variance 2.5, site variances 2 and 8."""
    y = np.array([[0.0], [2], [10], [14]])
    found = fit_combat(y, list("aabb"), empirical_bayes=False).apply(y, list("aabb"))
    step = np.sqrt(2.5) * np.sqrt(0.5)
    np.testing.assert_allclose(found[:, 0], [6.5 - step, 6.5 + step, 6.5 - step, 6.5 + step])


def test_means_and_variances_of_the_sites_agree_afterwards():
    y, site, _, at_b = cohort()
    for shrunk, tolerance in ((False, 1e-9), (True, 0.2)):
        made = fit_combat(y, site, empirical_bayes=shrunk).apply(y, site)
        np.testing.assert_allclose(made[at_b].mean(0), made[~at_b].mean(0), atol=tolerance)
        np.testing.assert_allclose(made[at_b].var(0), made[~at_b].var(0), rtol=tolerance, atol=tolerance)


def test_the_effect_of_age_is_kept_and_without_it_lost():
    y, site, age, _ = cohort()

    def slope(values):
        return np.polyfit(age[:, 0], values.mean(1), 1)[0]

    assert slope(fit_combat(y, site, age).apply(y, site, age)) == pytest.approx(0.05, abs=0.006)
    assert slope(fit_combat(y, site).apply(y, site)) < 0.042


def test_the_reference_site_stays_and_the_other_comes_to_it():
    y, site, _, at_b = cohort()
    made = fit_combat(y, site, reference="a").apply(y, site)
    np.testing.assert_allclose(made[~at_b], y[~at_b])
    np.testing.assert_allclose(made[at_b].mean(0), y[~at_b].mean(0), atol=0.2)
    np.testing.assert_allclose(made[at_b].std(0), y[~at_b].std(0), rtol=0.05)


def test_new_subjects_are_mapped_as_the_fitted_ones():
    y, site, age, _ = cohort()
    fitted = fit_combat(y, site, age)
    whole = fitted.apply(y, site, age)
    np.testing.assert_allclose(fitted.apply(y[150:250], site[150:250], age[150:250]), whole[150:250])
    new, where, years, at_b = cohort(seed=1)
    made = fitted.apply(new, where, years) - 0.05 * years
    np.testing.assert_allclose(made[at_b].mean(0), made[~at_b].mean(0), atol=0.3)


def test_shrinking_brings_the_features_shifts_together():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((12, 30))
    y[6:] += 1.0  # the same shift for all; six subjects measure it badly
    site = list("aaaaaabbbbbb")
    plain, shrunk = (fit_combat(y, site, empirical_bayes=flag) for flag in (False, True))
    assert shrunk.shift[1].std() < 0.8 * plain.shift[1].std()
    assert shrunk.scale[1].std() < 0.8 * plain.scale[1].std()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((Y, list("aaaabbbc")), "fewer than 2 subjects of site c"),
        ((Y, SITE, np.array([[0.0]] * 4 + [[1.0]] * 4)), "explain a covariate"),
        ((np.where(np.arange(3) == 1, 5, Y), SITE), r"features \[1\] are the same in all of site a"),
        ((np.where(np.eye(8, 3) > 0, np.nan, Y), SITE), r"rows \[0, 1, 2\]"),
        ((Y[:, :1], SITE), "no others to borrow"),
    ],
)
def test_what_cannot_be_fitted_is_one_error(arguments, words):
    with pytest.raises(DataError, match=words):
        fit_combat(*arguments)


def test_unknown_sites_and_other_tables_are_refused():
    with pytest.raises(DataError, match="reference site 'c'"):
        fit_combat(Y, SITE, reference="c")
    fitted = fit_combat(Y, SITE, AGE)
    with pytest.raises(DataError, match="unknown site c"):
        fitted.apply(Y, list("aaaabbbc"), AGE)
    with pytest.raises(DataError, match="3 features and 0 covariates"):
        fitted.apply(Y, SITE)
