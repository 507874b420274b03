"""Every YAML of conf/judge obeys the same laws. A new file there is in the battery by being there."""

import copy
import functools

import configs
import pytest
import torch
from hydra.utils import get_class
from omegaconf import DictConfig

from harmony import app
from harmony.core import REFERENCE, Stack
from harmony.core.vocabulary import direction, result_metric
from harmony.judges import AdaptiveJudge, Cohort, CohortJudge, Examples, ImageJudge, Truth

JUDGES = app.members("judge")
SUBJECTS = [f"sub-{k}" for k in range(6)]
SPACING = (4.0, 2.0, 2.0)


@functools.cache
def composed():
    cfg = configs.composed()
    shrink(cfg.tasks)
    shrink(cfg.judge)
    cfg.tasks.segmenter.network.out_channels = 1 + max(cfg.judge.structures.structures.values())
    return cfg


def shrink(cfg):
    """Whatever is called so is made quick: small networks, and steps that one adaptation shows."""
    for key in cfg:
        if key == "widths":
            cfg[key] = [4] * len(cfg[key])
        elif key == "lr":
            cfg[key] = 0.5
        elif isinstance(cfg[key], DictConfig):
            shrink(cfg[key])


@functools.cache
def config(name):
    cfg = copy.deepcopy(composed())
    cfg.evaluation.judges = list(dict.fromkeys(["segmentation", name]))  # somebody measures what a rival may need
    return cfg


def build(name):
    """The judge as an evaluation gets it, with untrained networks whose weights were moved a little."""
    cfg = config(name)
    torch.manual_seed(0)
    networks = {stage: app.build(cfg.tasks[stage].network).eval() for stage in app.models_wanted(cfg)}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (p for network in networks.values() for p in network.parameters()):
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    stacks = [(name, volume(k)[0]) for k, name in enumerate(SUBJECTS)]
    dark = [(name, Stack(stack.image**2, stack.mask, stack.position)) for name, stack in stacks]
    examples = {REFERENCE: Examples(stacks, stacks), "exp": Examples(dark, dark)}
    built = app.build_judges(cfg, networks, {"examples": examples, "training_ages": [30.0, 50.0]})
    return (built.judges | built.rivals)[name]


def volume(seed=0, slices=4, labels=True, age=40.0):
    """A brain of smooth tissue with some texture in three labels, and what is known of it."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    mask = (x**2 + (y - 0.1) ** 2 < 0.7).expand(slices, 1, -1, -1)
    image = (
        0.45
        + 0.25 * torch.sin((4 + seed % 3) * x) * torch.cos(3 * y)
        + 0.05 * torch.rand(mask.shape, generator=generator)
    )
    image = torch.where(mask, image.clamp(0, 1), 0)
    found = torch.where(mask[:, 0], 1 + (image[:, 0] > 0.4).short() + (image[:, 0] > 0.6).short(), 0)
    stack = Stack(image, mask.clone(), torch.linspace(0, 1, slices) if slices > 1 else torch.zeros(1))
    return stack, Truth(f"sub-{seed}", SPACING, found.short() if labels else None, age)


def asked(judge, stack, truth):
    """Everything that a judge says of one image, whatever its kind."""
    if isinstance(judge, ImageJudge):
        return {name: torch.tensor(value) for name, value in judge.score(stack, truth).items()}
    return judge.observe(stack, stack, measured(stack, 40.0))


def measured(stack, age):
    """What other judges may say of an image."""
    level = float(stack.image.mean())
    guess = age + 50 * (level - 0.4)
    return {"volume_gm_ml": 900 * level - age, "volume_wm_ml": 500 * level**2, "age_predicted": guess,
            "age_signed_error": guess - age}  # fmt: skip


def cohort(judge, subjects=SUBJECTS):
    """Six subjects, in the order that is asked for, each shifted its own way, so that folds matter."""
    reference, query = {}, {}
    for name in subjects:
        k = SUBJECTS.index(name)
        stack, age = volume(k)[0], 30.0 + k**2
        shifted = Stack(stack.image ** (0.75 + 0.1 * k), stack.mask, stack.position)
        reference[name] = judge.observe(stack, None, measured(stack, age))
        query[name] = judge.observe(shifted, stack, measured(shifted, age))
    return Cohort("exp", query, reference)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def of_kind(kind):
    return [name for name in JUDGES if issubclass(get_class(composed().judge[name]._target_), kind)]


def test_every_judge_is_of_one_of_two_kinds():
    kinds = [of_kind(ImageJudge), of_kind(CohortJudge)]
    assert sorted(kinds[0] + kinds[1]) == JUDGES
    assert {"segmentation", "tent"} <= set(kinds[0])
    assert {"site", "combat"} <= set(kinds[1])


@pytest.mark.parametrize("name", JUDGES)
def test_it_is_deterministic_and_writes_to_nothing(name):
    stack, truth = volume()
    before = copy.deepcopy((stack, truth))
    with torch.no_grad():
        first, again, anew = (
            asked(judge := build(name), stack, truth),
            asked(judge, stack, truth),
            asked(build(name), stack, truth),
        )
    assert first
    assert same(first, again)
    assert same(first, anew)
    assert torch.equal(stack.image, before[0].image)
    assert torch.equal(stack.mask, before[0].mask)
    assert torch.equal(truth.labels, before[1].labels)


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize(
    ("slices", "labels", "age", "empty"),
    [(1, True, 40.0, False), (4, True, None, False), (4, True, 40.0, True), (4, False, 40.0, False)],
    ids=["one slice", "no age", "empty labels", "no labels"],
)
def test_it_has_an_answer_for_odd_volumes(name, slices, labels, age, empty):
    stack, truth = volume(slices=slices, labels=labels, age=age)
    if empty:
        truth.labels.zero_()
    found = asked(build(name), stack, truth)
    assert found
    assert all(torch.isfinite(value.double()).all() for value in found.values())


@pytest.mark.parametrize("name", JUDGES)
def test_another_image_gets_another_answer(name):
    stack, truth = volume()
    other = Stack(torch.where(stack.mask, 1 - stack.image, 0), stack.mask, stack.position)
    judge = build(name)
    assert not same(asked(judge, stack, truth), asked(judge, other, truth))


@pytest.mark.parametrize("name", of_kind(ImageJudge))
def test_its_scores_are_in_the_vocabulary_and_beside_a_trivial_answer(name):
    judge, (stack, truth) = build(name), volume()
    found = judge.score(stack, truth)
    assert all(result_metric(metric) for metric in found)
    assert judge.metric in found
    assert direction(judge.metric) in (-1, 1)
    assert judge.baseline
    assert isinstance(judge.trivial(stack, truth), float)


@pytest.mark.parametrize("name", of_kind(AdaptiveJudge))
def test_reset_restores_what_adapting_changed(name):
    judge, (stack, truth) = build(name), volume()
    judge.reset()
    fresh = asked(judge, stack, truth)
    judge.adapt([stack, volume(1)[0]])
    adapted = asked(judge, stack, truth)
    assert not same(adapted, fresh)
    judge.reset()
    assert same(asked(judge, stack, truth), fresh)
    judge.adapt([stack, volume(1)[0]])
    assert same(asked(judge, stack, truth), adapted)


@pytest.mark.parametrize("name", of_kind(CohortJudge))
def test_the_order_of_the_cases_does_not_matter(name):
    judge = build(name)
    forth, back = judge.conclude(cohort(judge)), judge.conclude(cohort(judge, SUBJECTS[::-1]))
    assert forth
    assert forth == back
    assert all(result_metric(metric) for metric in forth)
    assert all(sorted(values) == SUBJECTS for values in forth.values())


@pytest.mark.parametrize("name", of_kind(CohortJudge))
def test_it_remembers_nothing_of_the_cases_itself(name):
    """Another judge, made anew as after a stop, concludes the same of what lies on disk."""
    judge = build(name)
    seen = cohort(judge)
    assert all(isinstance(tensor, torch.Tensor) for kept in seen.query.values() for tensor in kept.values())
    assert build(name).conclude(seen) == judge.conclude(seen)


@pytest.mark.parametrize("name", of_kind(CohortJudge))
def test_what_it_says_of_itself_is_of_its_name(name):
    assert all(each.judge.startswith(f"{name} ") and each.baseline for each in build(name).qualities(name))
