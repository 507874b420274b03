"""What a chain hands on beside the image: the smooth factor of the whole, and what its steps have to say."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from harmony.core import Harmonized, NamedReport, Stack, Steps
from harmony.methods import Method, Unharmonized, chain


@dataclass(frozen=True)
class Note(NamedReport):
    name: ClassVar[str] = "Note"
    number: float = 0.0
    alone: str | None = None

    def plain(self):
        return {"number": self.number}

    def words(self):
        return [("number", f"{self.number:g}")]

    @property
    def left_alone(self):
        return self.alone


class Step(Method):
    """g y + r inside the brain, and says its gain where `smooth`."""

    def __init__(self, gain, offset, *, smooth=True, report=None):
        self.gain, self.offset, self.smooth, self.report = gain, offset, smooth, report

    def harmonize(self, stack):
        image = torch.where(stack.mask, self.gain * stack.image + self.offset, 0)
        gain = torch.full_like(stack.image, self.gain) if self.smooth else None
        return Harmonized(image, {}, gain, report=self.report)


@pytest.fixture
def query():
    mask = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    mask[..., 1:3, 1:3] = True
    return Stack(torch.where(mask, 0.5, 0.0), mask, torch.linspace(0, 1, 3))


def test_the_gain_of_a_chain_leaves_the_same_rest_as_its_steps(query):
    """h_2(h_1(x)) = g_2 (g_1 x + r_1) + r_2: what is left beside g x is g_2 r_1 + r_2."""
    whole = chain(steps={"a": Step(0.5, 0.1), "b": Step(0.8, 0.05)}).harmonize(query)
    assert torch.allclose(whole.gain, torch.full_like(query.image, 0.4))
    rest = (whole.image - whole.gain * query.image)[query.mask]
    assert torch.allclose(rest, torch.tensor(0.8 * 0.1 + 0.05))


def test_a_step_without_a_smooth_factor_has_the_factor_one(query):
    before, after = Step(0.5, 0.1), Step(0.8, 0.0, smooth=False)
    for steps in ({"a": before, "b": after}, {"b": after, "a": before}):
        assert torch.equal(chain(steps=steps).harmonize(query).gain, torch.full_like(query.image, 0.5))
    assert chain(steps={"a": after, "b": Unharmonized()}).harmonize(query).gain is None


def test_a_chain_says_what_its_steps_say(query):
    alone = Note(1.0, alone="it was good")
    one = chain(steps={"a": Step(1.0, 0.0, report=alone)}).harmonize(query)
    assert one.report is alone
    silent = chain(steps={"a": Unharmonized(), "b": Unharmonized()}).harmonize(query)
    assert silent.report is None
    two = chain(steps={"a": Step(1.0, 0.0, report=alone), "b": Step(0.9, 0.0)}).harmonize(query)
    assert isinstance(two.report, Steps)
    assert two.report.numbers() == {"note_number": 1.0}
    assert two.report.left_alone is None  # the second step changed it
