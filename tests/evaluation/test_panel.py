"""What the judges of an evaluation are shown, under whose name their rows stand, and what is kept."""

import inspect

import pytest
import torch

from harmony.core import REFERENCE, DataError, Row, Stack
from harmony.evaluation import Panel, ScoredSlices
from harmony.judges import AdaptiveJudge, Cohort, CohortJudge, ImageJudge, Truth, quality


class Spy(AdaptiveJudge):
    """Writes down what it is given; its score is the mean grey level."""

    metric, baseline = "dice", "nothing"

    def __init__(self):
        self.seen, self.log = [], []

    def score(self, *given):
        self.seen.append(given)
        return {"dice": float(given[0].image.mean())}

    def trivial(self, stack, truth):
        return 0.1

    def adapt(self, stacks):
        self.log.append(("adapt", len(stacks)))

    def reset(self):
        self.log.append("reset")


class Summing(CohortJudge):
    """Adds up what it is shown, and what the others measured on it."""

    def __init__(self):
        self.cohorts = []

    def observe(self, stack, truth, measured):
        found = stack.image.sum() + (0 if truth is None else 1000)
        return {"sum": found, "measured": torch.tensor(measured.get("dice", -1.0))}

    def conclude(self, cohort):
        self.cohorts.append(cohort)
        if cohort.domain == "bad":
            raise DataError("no", cure="other")
        return {"site_retrained": {subject: float(kept["measured"]) for subject, kept in cohort.query.items()}}

    def qualities(self, name):
        return [quality(f"{name} x", "site_frozen", "a coin", {"sub-1": [(0.9, 0.5)]}, sign=1)]


def stack(level):
    image = torch.full((3, 1, 4, 4), level)
    return Stack(image, image > 0, torch.linspace(0, 1, 3))


def case(level, subject="sub-1"):
    known = Truth(subject, (1.0, 1.0, 1.0), None, None)
    return ScoredSlices(stack(level), stack(1.0), known, None, None, torch.ones(3).bool())


IMAGES = {"none": stack(0.25).image, "blindharmony": stack(0.5).image, "other": stack(0.5).image}


def test_a_judge_sees_the_image_and_the_truth_and_nothing_else():
    spy, rival = Spy(), Spy()
    answers = Panel({"segmentation": spy}, {"tent": rival}, []).ask("exp", case(0.25), IMAGES)
    assert answers.rows == [
        Row("none", "exp", "sub-1", "dice", 0.25),
        Row("blindharmony", "exp", "sub-1", "dice", 0.5),
        Row("other", "exp", "sub-1", "dice", 0.5),
        Row("tent", "exp", "sub-1", "dice", 0.25),
    ]
    assert answers.kept == {}
    assert all([type(each) for each in given] == [Stack, Truth] for given in spy.seen)
    assert "blindharmony" not in repr([given[1] for given in spy.seen])
    assert len(rival.seen) == 1
    for kind in ImageJudge.__subclasses__():
        assert list(inspect.signature(kind.score).parameters)[:3] in (["self", "stack", "truth"], ["self", "given"])
    for kind in CohortJudge.__subclasses__():
        assert list(inspect.signature(kind.observe).parameters) == ["self", "stack", "truth", "measured"]


def test_an_adaptive_judge_starts_afresh_in_each_domain():
    spy = Spy()
    panel = Panel({}, {"tent": spy}, [])
    panel.adapt([stack(0.2)] * 2)
    panel.adapt([stack(0.3)] * 5)
    assert spy.log == ["reset", ("adapt", 2), "reset", ("adapt", 5)]


def test_all_judges_are_examined_before_the_panel_is_there():
    panel = Panel({"segmentation": Spy(), "site": Summing()}, {"tent": Spy()}, [case(0.5, "sub-1"), case(0.7, "sub-2")])
    assert [each.judge for each in panel.qualities] == ["segmentation", "tent", "site x"]
    assert panel.qualities[0].value == pytest.approx(0.6)
    assert panel.qualities[0].trivial == pytest.approx(0.1)


def test_a_cohort_judge_keeps_each_image_and_gets_all_subjects_of_a_method():
    judge = Summing()
    panel = Panel({"segmentation": Spy(), "site": judge}, {}, [case(0.75, "sub-9")])
    kept = {name: panel.ask("exp", case(0.25, name), IMAGES).kept for name in ("sub-1", "sub-2")}
    assert set(kept["sub-1"]) == {f"site/{method}/{own}" for method in IMAGES for own in ("sum", "measured")}
    assert float(kept["sub-1"]["site/other/sum"]) == 48 * 0.5 + 1000
    rows = panel.conclude("exp", kept, {})
    assert {(row.method, row.subject, row.value) for row in rows} == {
        (method, subject, float(image.mean())) for method, image in IMAGES.items() for subject in kept
    }
    for cohort in judge.cohorts:
        assert isinstance(cohort, Cohort)
        assert float(cohort.reference["sub-9"]["sum"]) == 48 * 0.75  # without a truth: it is the reference itself
        assert float(cohort.reference["sub-9"]["measured"]) == 0.75
        assert "other" not in repr(cohort)


def test_a_rival_among_cohort_judges_gets_the_query_and_what_was_measured_on_it():
    panel = Panel({"segmentation": Spy()}, {"combat": Summing(), "tent": Spy()}, [case(0.75)])
    kept = panel.ask("exp", case(0.25), IMAGES).kept
    assert set(kept) == {"combat/combat/sum", "combat/combat/measured"}
    (row,) = panel.conclude("exp", {"sub-1": kept}, {})
    assert row == Row("combat", "exp", "sub-1", "site_retrained", 0.25)


def test_rows_of_a_cohort_carry_subject_and_scan_apart():
    judge = Summing()
    panel = Panel({"segmentation": Spy(), "site": judge}, {}, [])
    people = {"sub-1_a": "sub-1", "sub-1_b": "sub-1", "sub-2": "sub-2"}
    kept = {name: panel.ask("exp", case(0.25, name), IMAGES).kept for name in people}
    rows = panel.conclude("exp", kept, people)
    assert {(row.scan, row.subject) for row in rows} == set(people.items())
    assert all(dict(cohort.people) == people for cohort in judge.cohorts)


def test_a_judge_that_answers_on_the_reference_is_asked_there():
    class There(Summing):
        on_reference = True

    panel = Panel({"segmentation": Spy(), "site": Summing()}, {"combat": There()}, [case(0.75)])
    kept = panel.ask(REFERENCE, case(0.25), IMAGES).kept
    assert set(kept) == {"combat/combat/sum", "combat/combat/measured"}
    assert {row.method for row in panel.conclude(REFERENCE, {"sub-1": kept}, {})} == {"combat"}


def test_nothing_is_asked_of_a_cohort_on_the_reference_scanner_itself():
    panel = Panel({"site": Summing()}, {}, [])
    assert panel.ask(REFERENCE, case(0.25), IMAGES).kept == {}


def test_a_cohort_that_cannot_be_judged_stops_nothing(capsys):
    panel = Panel({"site": Summing()}, {}, [])
    kept = {"sub-1": panel.ask("bad", case(0.25), IMAGES).kept}
    assert panel.conclude("bad", kept, {}) == []
    assert "site says nothing of bad: no -> other" in capsys.readouterr().out
