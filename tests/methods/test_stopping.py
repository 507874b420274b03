"""Every stopping rule on trajectories whose right answer is known."""

import math

import pytest

from harmony.methods.stopping import Budget, Evidence, LowestEntropy, Plateau, ReferenceLevel


def bpds(*values):
    return [Evidence(value, 0.0, math.nan, 0.0) for value in values]


def entropies(*values):
    return [Evidence(4.0, 0.0, value, 0.0) for value in values]


def run(rule, trajectory, reference_bpd=0.0):
    """Feed the trajectory pass by pass, as an adaptation does: the verdict that stopped it, and after which pass."""
    for seen in range(1, len(trajectory) + 1):
        verdict = rule.decide(trajectory[:seen], reference_bpd)
        if verdict.stop:
            return verdict.keep, seen - 1
    raise AssertionError("never stopped")


def test_budget_keeps_the_last_pass():
    assert run(Budget(passes=3), bpds(5, 4, 3, 2, 1)) == (3, 3)
    assert run(Budget(passes=0), bpds(5, 4)) == (0, 0)


def test_entropy_keeps_the_lowest_and_stops_after_patience():
    rule = LowestEntropy(passes=10, patience=2)
    assert run(rule, entropies(0.9, 0.5, 0.3, 0.4, 0.6, 0.1)) == (2, 4)
    assert run(rule, entropies(0.1, 0.5, 0.6, 0.7)) == (0, 2)
    assert run(LowestEntropy(passes=3, patience=9), entropies(0.9, 0.8, 0.7, 0.6, 0.5)) == (3, 3)


def test_entropy_without_a_judge_is_an_error():
    with pytest.raises(ValueError, match="judge"):
        LowestEntropy(passes=3, patience=1).decide(bpds(4.0), 0.0)


def test_reference_level_stops_at_the_first_pass_that_is_likely_enough():
    rule = ReferenceLevel(passes=10)
    assert run(rule, bpds(5, 4, 3.5, 3.0), 3.5) == (2, 2)
    assert run(rule, bpds(3.2, 3.1), 3.5) == (0, 0)
    assert run(ReferenceLevel(passes=2), bpds(5, 4, 3, 2), 1.0) == (2, 2)


def test_plateau_stops_when_a_pass_gains_a_small_share():
    rule = Plateau(passes=10, share=0.1)
    assert run(rule, bpds(5, 4, 3.5, 3.4, 3.39)) == (3, 3)  # gains 1, 0.5, 0.1 of 1.6: below a tenth
    assert run(rule, bpds(5, 4, 4.2, 3.0)) == (1, 2)  # the pass that lost likelihood is not kept
    assert run(Plateau(passes=2, share=0.0), bpds(5, 4, 3, 2)) == (2, 2)


@pytest.mark.parametrize(("gain", "stopped"), [(0.34, False), (0.33, True)])
def test_plateau_compares_with_its_share_of_all_that_was_gained(gain, stopped):
    """A quarter: 0.34 of 1.34 is more, 0.33 of 1.33 is less."""
    assert Plateau(passes=10, share=0.25).decide(bpds(5, 4, 4 - gain), 0.0).stop == stopped
