"""The probe on toys whose answer is known."""

import math
from statistics import fmean

import numpy as np
import pytest
import torch

from harmony.analysis import mean_interval
from harmony.core import Stack
from harmony.judges import Probe
from harmony.judges.probe import folds


def probe(**changes):
    return Probe(**({"quantiles": [0.25, 0.5, 0.75], "scales": [1, 2], "penalties": [1.0], "folds": 4} | changes))


def subject(seed, change=lambda x: x, slices=6):
    image = torch.rand(slices, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.2
    mask = torch.ones_like(image, dtype=torch.bool)
    mask[..., :2] = False
    return Stack(torch.where(mask, change(image), 0), mask, torch.linspace(0, 1, slices))


def features(change=lambda x: x, subjects=range(8)):
    return {f"s{k:02d}": [probe().features(subject(k, change))] for k in subjects}


def flat(answers):
    return [answer for each in answers.values() for answer in each]


def test_features_by_hand():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8) / 10  # along columns
    mask = torch.zeros_like(ramp, dtype=torch.bool)
    mask[..., 2:6, 2:6] = True
    (found,) = probe().features(Stack(torch.where(mask, ramp, 0), mask, torch.tensor([0.25])))
    half, quarter = 0.01 / 2, 0.04 / 2  # steps of 0.1 (0.2 after averaging 2 x 2) along columns, of 0 along rows
    energies = [math.log(half + 1e-6), math.log(quarter + 1e-6)]
    spread = math.sqrt(1.25)  # of 2, 3, 4, 5
    expected = [0.25, 0.275, 0.35, 0.425, *energies, 0.0, spread / 10]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-4)


def test_slices_without_brain_are_left_out():
    stack = subject(0)
    stack.mask[0] = False
    assert len(probe().features(stack)) == 5


def test_identical_images_cannot_be_told_apart():
    same = features()
    assert probe().retrained(same, same) == {name: [0.5] for name in same}
    frozen = probe().fit(same, features(lambda x: 0.7 * x))
    assert flat(probe().ask(frozen, same, same)) == [0.5] * 8


def test_a_strong_shift_is_told_on_subjects_that_were_not_seen():
    train = probe().fit(features(), features(lambda x: 0.7 * x))
    unseen = range(20, 28)
    answers = probe().ask(train, features(subjects=unseen), features(lambda x: 0.7 * x, unseen))
    assert min(flat(answers)) > 0.9
    assert min(flat(probe().retrained(features(), features(lambda x: 0.7 * x)))) > 0.9


def test_a_frozen_probe_flatters_where_a_retrained_one_finds_what_is_left():
    """The query is brighter; the method puts the level right, and leaves its smoothing behind."""

    def smooth(x):
        return torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    reference, harmonized = features(), features(smooth)
    frozen = probe().fit(reference, features(lambda x: x + 0.2))
    assert fmean(flat(probe().ask(frozen, reference, harmonized))) < 0.6
    assert min(flat(probe().retrained(reference, harmonized))) > 0.9


def sessions(seed, *, paired, people=6):
    """Two sessions of each person, (4, 11) each, by person and scanner; what sets a person's two sides apart is the
    person's own and the same in both sessions: no scanner does."""
    rng = np.random.default_rng(seed)

    def side(names, own):
        return {
            name: [torch.tensor(centre + 0.3 * rng.normal(size=(4, 11)), dtype=torch.float32) for _ in range(2)]
            for name, centre in zip(names, own, strict=True)
        }

    base = rng.normal(size=(people, 11))
    names = [f"p{k}" for k in range(people)]
    others = names if paired else [f"q{k}" for k in range(people)]
    second = base + rng.normal(size=(people, 11)) if paired else rng.normal(size=(people, 11))
    return side(names, base), side(others, second)


def shuffled(side, seed):
    order = np.random.default_rng(seed).permutation(list(side))
    return {name: side[name] for name in order}


@pytest.mark.parametrize("paired", [True, False])
def test_without_a_site_effect_the_answer_is_a_half_within_its_interval(paired):
    """Six people, two sessions each. Of 20 draws the intervals of at least 16 hold 0.5: 95 %, less binomial error."""
    asked = probe(penalties=[0.1, 10.0], folds=3)
    held, means = [], []
    for seed in range(20):
        answers = asked.retrained(*sessions(seed, paired=paired))
        found = mean_interval([fmean(each) for each in answers.values()], cross_validated=True)
        held.append(found.low <= 0.5 <= found.high)
        means.append(found.mean)
    assert sum(held) >= 16
    assert abs(np.mean(means) - 0.5) < 0.1


@pytest.mark.parametrize("paired", [True, False])
def test_the_order_of_people_changes_nothing(paired):
    reference, query = sessions(0, paired=paired)
    first = probe().retrained(reference, query)
    for seed in range(4):
        other = probe().retrained(shuffled(reference, seed), shuffled(query, seed + 9))
        assert {name: other[name] for name in first} == {name: pytest.approx(each) for name, each in first.items()}


def test_a_probe_that_saw_a_person_knows_the_person():
    """What folds of scans would say of the very same scans: each session is a person of its own."""
    reference, query = sessions(1, paired=False)
    apart = [{f"{name}-{k}": [x] for name, scans in side.items() for k, x in enumerate(scans)} for side in
             (reference, query)]  # fmt: skip
    leaking = probe(folds=2).fit(reference, query)
    assert fmean(flat(probe().ask(leaking, reference, query))) > 0.9
    sight = [{n: s for n, s in side.items() if n.endswith("-0")} for side in apart]
    again = [{n: s for n, s in side.items() if n.endswith("-1")} for side in apart]
    assert fmean(flat(probe().ask(probe().fit(*sight), *again))) > 0.9
    assert fmean(flat(probe().retrained(reference, query))) < 0.75


@pytest.mark.parametrize(
    ("reference", "query"),
    [("abcdef", "abcdef"), ("abcdef", "uvwxyz"), ("abcdef", "efgh"), ("abc", "cdefghij"), ("abcd", "dcba")],
)
def test_a_fold_holds_people_with_all_their_scans_on_both_scanners(reference, query):
    sides = [{name: [torch.zeros(1, 1)] * 2 for name in names} for names in (reference, query)]
    seen = [[], []]
    for rest, held_out in folds(*sides, 5):
        for side, fitted, left, all_left in zip(sides, rest, held_out, seen, strict=True):
            assert fitted
            assert left
            assert fitted | left == side
            all_left.extend(left)
        assert not (set(rest[0]) | set(rest[1])) & (set(held_out[0]) | set(held_out[1]))
    assert [sorted(names) for names in seen] == [sorted(reference), sorted(query)]


def test_the_penalty_is_the_one_that_does_best_on_people_left_out():
    """Where each person differs in a way of their own, a strong penalty; where a scanner does, a weak one."""
    person = probe(penalties=[1e-3, 1e3]).fit(*sessions(0, paired=True))
    assert pytest.approx(1e-3) == person[-1].C
    clear = features(), features(lambda x: 0.97 * x)
    assert pytest.approx(1e3) == probe(penalties=[1e-3, 1e3]).fit(*clear)[-1].C
    assert pytest.approx(1 / 7) == probe(penalties=[7.0, 5.0]).fit(features(subjects=[0]), features(subjects=[1]))[-1].C


def test_held_out_people_have_no_part_in_the_penalty():
    """Labels of the held-out person turned around: the classifier that is asked about them stays the same."""

    class Spy(Probe):
        def ask(self, classifier, reference, query):
            asked.append((sorted(query), classifier[-1].coef_.copy(), classifier[-1].C))
            return Probe.ask(classifier, reference, query)

    asked = []
    reference, query = sessions(3, paired=True)
    spy = Spy(quantiles=[0.5], scales=[1], penalties=[1e-2, 1.0, 1e2], folds=6)
    spy.retrained(reference, query)
    before, asked = asked, []
    turned = {**reference, "p0": query["p0"]}, {**query, "p0": reference["p0"]}
    spy.retrained(*turned)
    for (names, coefficients, penalty), (same, others, other) in zip(before, asked, strict=True):
        if names == ["p0"]:
            assert (names, penalty) == (same, other)
            np.testing.assert_array_equal(coefficients, others)
            return
    raise AssertionError("p0 was not asked about")


def test_both_scanners_count_alike_however_many_slices_they_have():
    """A hundred slices of the query for one of the reference: without balance all would be called query."""
    rng = np.random.default_rng(0)
    reference = {"a": [torch.tensor(rng.normal(0, 1, (10, 1)))]}
    query = {"b": [torch.tensor(rng.normal(1, 1, (1000, 1)))]}
    classifier = probe().fit(reference, query)
    assert classifier.predict(np.array([[0.0], [1.0]])).tolist() == [0, 1]


def test_fewer_than_three_people_are_not_asked_about():
    assert probe().retrained(features(subjects=[1, 2]), features(subjects=[1, 2, 3])) == {}
    assert len(probe().retrained(features(subjects=[1, 2, 3]), features(subjects=[1, 2, 3]))) == 3


def test_other_people_are_told_apart_by_the_scanner_on_subjects_that_were_not_seen():
    reference = features(subjects=range(9))
    others = range(20, 24)
    assert min(flat(probe().retrained(reference, features(lambda x: 0.7 * x, others)))) > 0.9
    same = flat(probe().retrained(reference, features(subjects=others)))
    assert len(same) == 4
    assert 0.3 < fmean(same) < 0.7


class FromOneUp:
    """Calls query what is 1 or more."""

    def predict(self, x):
        return (x[:, 0] >= 1).astype(float)


def test_an_answer_is_half_the_query_scan_and_half_the_same_persons_reference_scans():
    reference = {"a": [torch.tensor([[0.0], [1.0]])], "b": [torch.tensor([[0.0]]), torch.tensor([[0.0]])]}
    query = {"a": [torch.tensor([[1.0], [1.0], [1.0], [0.0]]), torch.tensor([[0.0]])], "b": [torch.tensor([[1.0]])]}
    found = probe().ask(FromOneUp(), reference, query)
    assert found == {"a": [pytest.approx((0.5 + 0.75) / 2), pytest.approx(0.25)], "b": [1.0]}


def test_people_without_a_reference_scan_are_dealt_others_that_no_two_of_them_share():
    reference = {
        name: [torch.tensor([[value]])] for name, value in zip("abcde", (0.0, 2.0, 0.0, 0.0, 2.0), strict=True)
    }
    query = {name: [torch.tensor([[2.0]])] for name in "exy"}
    found = probe().ask(FromOneUp(), reference, query)  # e is told from e; x from a, c; y from b, d
    assert found == {"e": [0.5], "x": [1.0], "y": [0.75]}
    few = probe().ask(FromOneUp(), {"a": [torch.tensor([[2.0]])]}, query)
    assert few == {name: [0.5] for name in "exy"}
