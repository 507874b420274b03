"""The site probe before a cohort: frozen where there are examples, fitted again where there are subjects."""

import pytest
import torch

from harmony.core import REFERENCE, Stack
from harmony.judges import Cohort, Examples, Probe, SiteProbe


def stack(level):
    image = torch.full((3, 1, 4, 4), level)
    return Stack(image, image > 0, torch.linspace(0, 1, 3))


SUBJECTS = {f"sub-{k}": stack(0.5 + 0.01 * k) for k in range(6)}
REFERENCES = Examples(list(SUBJECTS.items()), list(SUBJECTS.items()))
DARK = Examples([(name, stack(0.2)) for name in SUBJECTS], [(name, stack(0.2)) for name in SUBJECTS])


def judge(**examples):
    return SiteProbe(
        quantiles=[0.5], scales=[1], penalties=[0.1, 1.0], folds=3, examples={REFERENCE: REFERENCES} | examples
    )


def cohort(site, images, *, domain="exp", paired=True):
    query = {name: site.observe(image, SUBJECTS[name] if paired else None, {}) for name, image in images.items()}
    return Cohort(domain, query, {name: site.observe(each, None, {}) for name, each in SUBJECTS.items()})


@pytest.mark.parametrize(("images", "expected"), [(dict.fromkeys(SUBJECTS, stack(0.2)), 1), (SUBJECTS, 0.5)])
def test_a_dark_scanner_is_told_and_the_reference_itself_is_not(images, expected):
    site = judge(exp=DARK)
    found = site.conclude(cohort(site, images))
    assert found == {metric: dict.fromkeys(SUBJECTS, expected) for metric in ("site_frozen", "site_retrained")}


def test_its_quality_is_of_the_frozen_probe_on_scored_subjects():
    (found,) = judge(exp=DARK).qualities("site")
    assert (found.judge, found.metric, found.value, found.trivial, found.able) == (
        "site exp",
        "site_frozen",
        1,
        0.5,
        True,
    )


def test_a_domain_without_examples_has_no_frozen_probe():
    site = judge()
    assert site.qualities("site") == []
    assert set(site.conclude(cohort(site, SUBJECTS))) == {"site_retrained"}


def test_without_a_truth_the_untouched_scans_of_others_are_what_it_is_told_from():
    site = judge()
    found = site.conclude(cohort(site, {f"far-{k}": stack(0.2) for k in range(4)}, paired=False))
    assert found == {"site_retrained": {f"far-{k}": 1 for k in range(4)}}


def test_the_scans_of_a_person_have_an_answer_each_and_a_fold_together(monkeypatch):
    site = judge(exp=DARK)
    given = cohort(site, dict.fromkeys(SUBJECTS, stack(0.2)))
    people = {name: f"person-{k // 2}" for k, name in enumerate(SUBJECTS)}
    asked = []
    retrained = site.probe.retrained

    def spy(reference, query):
        asked.append({name: len(scans) for side in (reference, query) for name, scans in side.items()})
        return retrained(reference, query)

    monkeypatch.setattr(site.probe, "retrained", spy)
    found = site.conclude(Cohort("exp", given.query, given.reference, people))
    assert asked == [dict.fromkeys(people.values(), 2)]
    assert set(found["site_frozen"]) == set(found["site_retrained"]) == set(SUBJECTS)


def test_a_frozen_probe_learns_from_training_people_alone(monkeypatch):
    """What it is fitted to, and what it is asked about: people of different parts, one by one."""
    fitted, asked = [], []
    fit, ask = Probe.fit, Probe.ask

    def spied(self, *sides):
        fitted.append([set(side) for side in sides])
        return fit(self, *sides)

    monkeypatch.setattr(Probe, "fit", spied)
    monkeypatch.setattr(
        Probe, "ask", staticmethod(lambda c, *sides: asked.append([*map(set, sides)]) or ask(c, *sides))
    )
    train, scored = (dict(list(SUBJECTS.items())[part]) for part in (slice(3), slice(3, 6)))
    dark = [[(name, stack(0.2)) for name in part] for part in (train, scored)]
    examples = {REFERENCE: Examples(list(train.items()), list(scored.items())), "exp": Examples(*dark)}
    SiteProbe(quantiles=[0.5], scales=[1], penalties=[1.0], folds=3, examples=examples)
    assert fitted == [[set(train), set(train)]]
    assert asked == [[set(scored), set(scored)]]


def test_a_single_subject_cannot_be_asked_again():
    site = judge(exp=DARK)
    assert set(site.conclude(cohort(site, {"sub-0": stack(0.2)}))) == {"site_frozen"}


def test_nothing_is_read_of_the_training_scans_where_no_scanner_is_simulated():
    def read():
        raise AssertionError
        yield

    SiteProbe(
        quantiles=[0.5], scales=[1], penalties=[0.1, 1.0], folds=3, examples={REFERENCE: Examples(read(), read())}
    )
