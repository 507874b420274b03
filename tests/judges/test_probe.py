"""The probe on toys whose answer is known."""

import math

import pytest
import torch

from harmony.core import Stack
from harmony.judges import Probe


def probe(**changes):
    return Probe(**({"quantiles": [0.25, 0.5, 0.75], "scales": [1, 2], "penalty": 1.0, "folds": 4} | changes))


def subject(seed, change=lambda x: x, slices=6):
    image = torch.rand(slices, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.2
    mask = torch.ones_like(image, dtype=torch.bool)
    mask[..., :2] = False
    return Stack(torch.where(mask, change(image), 0), mask, torch.linspace(0, 1, slices))


def features(change=lambda x: x, subjects=range(8)):
    return [probe().features(subject(k, change)) for k in subjects]


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
    assert probe().retrained(same, same) == [0.5] * 8
    frozen = probe().fit(same, features(lambda x: 0.7 * x))
    assert probe().ask(frozen, same, same) == [0.5] * 8


def test_a_strong_shift_is_told_on_subjects_that_were_not_seen():
    train = probe().fit(features(), features(lambda x: 0.7 * x))
    unseen = range(20, 28)
    answers = probe().ask(train, features(subjects=unseen), features(lambda x: 0.7 * x, unseen))
    assert min(answers) > 0.9
    assert min(probe().retrained(features(), features(lambda x: 0.7 * x))) > 0.9


def test_a_frozen_probe_flatters_where_a_retrained_one_finds_what_is_left():
    """The query is brighter; the method puts the level right, and leaves its smoothing behind."""

    def smooth(x):
        return torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    reference, harmonized = features(), features(smooth)
    frozen = probe().fit(reference, features(lambda x: x + 0.2))
    assert sum(probe().ask(frozen, reference, harmonized)) / 8 < 0.6
    assert min(probe().retrained(reference, harmonized)) > 0.9


def test_a_subject_is_judged_without_having_been_seen():
    """Each subject's two images differ its own way: only a probe that saw the subject could tell them apart."""
    generator = torch.Generator().manual_seed(0)
    reference = [torch.randn(4, 40, generator=generator).mean(0).expand(4, 40) for _ in range(12)]
    query = [row + 0.5 * torch.randn(1, 40, generator=generator) for row in reference]
    leaking = probe(penalty=1e-3).fit(reference, query)
    assert sum(probe().ask(leaking, reference, query)) / 12 == 1
    assert sum(probe(penalty=1e-3).retrained(reference, query)) / 12 < 0.75


def test_other_people_are_told_apart_by_the_scanner_on_subjects_that_were_not_seen():
    reference = features(subjects=range(9))
    others = range(20, 24)
    assert min(probe().retrained_unpaired(reference, features(lambda x: 0.7 * x, others))) > 0.9
    same = probe().retrained_unpaired(reference, features(subjects=others))
    assert len(same) == 4
    assert 0.3 < sum(same) / 4 < 0.7


def test_an_unpaired_answer_is_half_the_subjects_own_and_half_of_the_held_out_reference():
    class Says:
        """Query from 1 up."""

        def predict(self, x):
            return (x[:, 0] >= 1).astype(float)

    class Spy(Probe):
        def fit(self, reference, query):
            fitted.append([[float(each[0, 0]) for each in group] for group in (reference, query)])
            return Says()

    fitted = []
    reference = [torch.full((2, 1), value) for value in (0.0, 0.1, 1.1, 0.3)]  # the third is mistaken for a query
    query = [torch.tensor([[1.0], [0.5]]), torch.tensor([[2.0], [2.0]])]
    answers = Spy(quantiles=[0.5], scales=[1], penalty=1.0, folds=5).retrained_unpaired(reference, query)
    assert answers == pytest.approx([(1 + 0.5) / 2, (0.5 + 1) / 2])
    assert fitted == [[pytest.approx([1.1, 0.3]), [2.0]], [pytest.approx([0.0, 0.1]), [1.0]]]


def test_the_answers_are_balanced_by_subject():
    class Says:
        def predict(self, x):
            return x[:, 0]

    reference, query = [torch.tensor([[0.0], [1.0]])], [torch.tensor([[1.0], [1.0], [1.0], [0.0]])]
    assert probe().ask(Says(), reference, query) == pytest.approx([(0.5 + 0.75) / 2])
