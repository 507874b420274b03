"""Intervals keep their word: over many samples whose truth is known, 95 % of them hold it."""

import math

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from harmony.analysis import Interval, mean_interval, ratio

SAMPLES = 1500
SIZES = [3, 6, 10, 20]


def coverage(intervals, truth):
    return np.mean([each.low <= truth <= each.high for each in intervals])


def within_binomial_error(share, *, expected=0.95):
    """Whether 1500 samples of intervals that cover `expected` would give such a share, but once in 1000 times."""
    low, high = binom.ppf([0.0005, 0.9995], SAMPLES, expected) / SAMPLES
    return low <= share <= high


@pytest.mark.parametrize("n", SIZES)
def test_the_mean_of_normal_values_is_in_95_of_100_intervals(n):
    samples = np.random.default_rng(n).normal(2, 3, (SAMPLES, n))
    assert within_binomial_error(coverage(map(mean_interval, samples), 2))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("sigma", "floor"), [(0.5, 0.90), (1.0, 0.80)])
def test_the_mean_of_lognormal_values_is_in_as_many_intervals_as_the_docs_say(n, sigma, floor):
    samples = np.random.default_rng(n).lognormal(0, sigma, (SAMPLES, n))
    assert coverage(map(mean_interval, samples), math.exp(sigma**2 / 2)) > floor


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("variation", [0.1, 0.2])
def test_a_share_is_in_95_of_100_intervals(n, variation):
    """Of a loss that is clear of 0: where Fieller's interval is not bounded, all shares are in it."""
    rng = np.random.default_rng(n)
    lost = rng.normal(0.1, variation * 0.1, (SAMPLES, n))
    gained = 0.4 * lost + rng.normal(0, 0.02, (SAMPLES, n))
    found = [ratio(g, ell) for g, ell in zip(gained, lost, strict=True)]
    holds = [not each.known or each.low <= 0.4 <= each.high for each in found]
    assert within_binomial_error(np.mean(holds))
    assert np.mean([each.known for each in found]) > 0.95


@pytest.mark.parametrize("n", [4, 10])
def test_values_that_share_their_training_have_a_wider_interval_that_covers(n):
    """x_i = e_i . (sum of the other e_j): what an answer is that was fitted to the others, where there is no effect."""
    e = np.random.default_rng(n).normal(size=(SAMPLES, n, 8))
    values = (e * (e.sum(1, keepdims=True) - e)).sum(2)
    assert coverage([mean_interval(x) for x in values], 0) < 0.92
    assert coverage([mean_interval(x, cross_validated=True) for x in values], 0) > 0.93


def test_the_interval_by_hand():
    found = mean_interval([1.0, 2.0, 3.0, math.nan])
    half = student.ppf(0.975, 2) / math.sqrt(3)
    assert (found.mean, found.subjects) == (2, 3)
    assert (found.low, found.high) == (pytest.approx(2 - half), pytest.approx(2 + half))
    shared = mean_interval([1.0, 2.0, 3.0], cross_validated=True)
    assert shared.high - 2 == pytest.approx(half * math.sqrt(2.5))  # 1/3 + 1/2 in place of 1/3
    assert mean_interval([5.0] * 4) == (5, 5, 5, 4)


def test_of_fewer_than_three_subjects_there_is_no_interval():
    for values in ([], [5.0], [1.0, 2.0]):
        found = mean_interval(values)
        assert not found.known
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert found.span(1) == "too few"
        assert found.listed()[1:] == [None, None]
    assert mean_interval([1.0, 2.0]).mean == 1.5
    assert not ratio([1.0, 2.0], [2.0, 4.0]).known
    assert ratio([1.0, 2.0], [2.0, 4.0]).mean == 0.5


def test_a_share_is_within_its_interval_where_t_says_that_nothing_is_left():
    """At both ends r the mean of gained - r lost is exactly t standard errors from 0."""
    rng = np.random.default_rng(0)
    lost = rng.normal(0.1, 0.02, 6)
    gained = 0.4 * lost + rng.normal(0, 0.02, 6)
    found = ratio(gained, lost)
    assert found.low < found.mean < found.high
    for end in found[1:3]:
        rest = gained - end * lost
        assert abs(rest.mean()) / (rest.std(ddof=1) / math.sqrt(6)) == pytest.approx(student.ppf(0.975, 5))


def test_a_share_of_what_may_be_nothing_has_no_interval():
    assert not ratio([0.1, 0.2, 0.3], [0.1, -0.1, 0.05]).known


def test_words_of_an_interval():
    assert Interval(1.0, 0.5, 1.5, 3).span(1) == "0.5, 1.5"
    assert Interval(1.0, 0.5, 1.5, 3).span(2, between=" to ", sign="+") == "+0.50 to +1.50"
    assert Interval(1.0, 0.5, 1.5, 3).listed() == [1.0, 0.5, 1.5]
