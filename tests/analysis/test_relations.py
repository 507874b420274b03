"""Slopes within sites: against least squares with dummies, and by made-up people."""

import math

import numpy as np
import pytest

from harmony.analysis import relation, slope_within


def people(rng, n=40, sites=3, slope=-2.0, noise=5.0):
    site = [f"s{k % sites}" for k in range(n)]
    age = rng.uniform(20, 80, n) + np.array([10.0 * (k % sites) for k in range(n)])
    offset = np.array([100.0 * (k % sites) for k in range(n)])
    return age, 600 + slope * age + offset + rng.normal(0, noise, n), site


def test_it_is_least_squares_with_an_intercept_for_each_site():
    age, volume, site = people(np.random.default_rng(1))
    design = np.column_stack([age, *(np.array(site) == name for name in ("s0", "s1", "s2"))]).astype(float)
    solved, rest, *_ = np.linalg.lstsq(design, volume, rcond=None)
    error = math.sqrt(rest[0] / (40 - 4) * np.linalg.inv(design.T @ design)[0, 0])
    found = slope_within(age, volume, site)
    assert found.mean == pytest.approx(solved[0])
    assert (found.high - found.low) / 2 == pytest.approx(2.0281 * error, rel=1e-4)  # t of 36 degrees of freedom


def test_the_interval_covers():
    rng = np.random.default_rng(2)
    found = [slope_within(*people(rng, n=14)) for _ in range(1500)]
    assert 0.93 < np.mean([each.low <= -2 <= each.high for each in found]) < 0.97


def test_what_became_of_a_relation():
    rng = np.random.default_rng(3)
    age, volume, site = people(rng)
    kept = relation(age, volume, volume + 50 + rng.normal(0, 2, 40), site)
    assert kept.known
    assert kept.kept
    assert kept.change.low < 0 < kept.change.high
    lost = relation(age, volume, volume + 2 * age, site)
    assert lost.known
    assert not lost.kept
    assert lost.change.mean == pytest.approx(2)
    turned = relation(age, volume, volume + 4 * age, site)
    assert not turned.kept
    assert not relation(age, rng.normal(0, 1, 40), volume, site).known


def test_what_cannot_be_told():
    age, volume, site = people(np.random.default_rng(4), n=9)
    assert math.isnan(slope_within(age, volume, site).mean)
    ten = np.full(20, 50.0)
    assert not slope_within(ten, np.arange(20.0), ["a"] * 20).known
