"""Paired comparisons against answers worked out by hand."""

import math

import pytest

from harmony.metrics import holm, paired


def test_a_paired_comparison_uses_the_subjects_that_both_have():
    found = paired({"a": 3.0, "b": 5.0, "c": 9.0}, {"a": 1.0, "b": 2.0, "d": 0.0})
    assert found.difference.mean == 2.5
    assert found.difference.subjects == 2
    assert 2.0 <= found.difference.low <= found.difference.high <= 3.0


@pytest.mark.parametrize("n", [3, 5, 8])
def test_all_subjects_better_gives_the_smallest_p_there_is(n):
    after = {str(k): float(k + 1) for k in range(n)}
    found = paired(after, dict.fromkeys(after, 0.0))
    assert found.p == pytest.approx(2 / 2**n)
    assert paired(dict.fromkeys(after, 0.0), after).p == pytest.approx(2 / 2**n)
    assert paired(dict.fromkeys(after, 0.0), after).difference.mean == -found.difference.mean


def test_no_difference_is_no_evidence():
    same = {"a": 1.0, "b": 2.0}
    assert paired(same, same).p == 1.0
    assert paired(same, same).difference[:3] == (0, 0, 0)


def test_zero_and_missing_differences_do_not_count_as_evidence():
    base = dict.fromkeys("abcd", 0.0)
    assert paired({"a": 1.0, "b": 2.0, "c": 3.0, "d": 0.0}, base).p == pytest.approx(0.25)
    assert paired({"a": 1.0, "b": 2.0, "c": 3.0, "d": math.nan}, base).p == pytest.approx(0.25)


def test_holm_is_the_textbook_example():
    """Four tests: 0.005 x 4, 0.01 x 3, then 0.03 x 2, and 0.04 x 1 raised to it; the order of input is kept."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
