"""How good a judge is itself."""

import pytest

from harmony.judges import quality


def by_subject(*pairs):
    return {f"s{k}": [pair] for k, pair in enumerate(pairs)}


def test_quality_by_hand():
    good = quality("age", "age_error", "the mean", by_subject((2.0, 9.0), (3.0, 10.0), (2.5, 8.0)))
    assert (good.value, good.trivial, good.subjects, good.able) == (2.5, 9.0, 3, True)
    assert good.line() == "  age: age_error 2.500 (n=3); the mean: 9.000"
    bad = quality("age", "age_error", "the mean", by_subject((9.0, 9.0), (13.0, 10.0), (6.5, 8.0)))
    assert not bad.able
    assert "CANNOT" in bad.line()
    assert quality("segmentation", "dice", "x", by_subject((0.9, 0.3), (0.8, 0.2), (0.9, 0.2))).able  # larger: better
    assert not quality("segmentation", "dice", "x", {}).able


def test_able_takes_three_subjects_a_margin_and_the_worse_end_of_the_interval():
    def able(*gains, metric="site_frozen"):
        return quality("site", metric, "a coin", by_subject(*((0.5 + g, 0.5) for g in gains)), sign=1).able

    assert not able(0.01)  # a judge of one subject with 0.51 against 0.5
    assert not able(0.4, 0.4)
    assert able(0.4, 0.4, 0.4)
    assert not able(0.04, 0.04, 0.04)  # sure of a difference that does not matter
    assert not able(0.4, 0.0, 0.5)  # by the mean only
    assert able(0.06, 0.06, 0.06)


def test_two_sessions_of_a_person_count_once_in_a_quality():
    found = quality("segmentation", "dice", "x", {"a": [(0.9, 0.3), (0.7, 0.1)], "b": [(0.6, 0.2)]})
    assert (found.subjects, found.value, found.trivial) == (2, pytest.approx(0.7), pytest.approx(0.2))
