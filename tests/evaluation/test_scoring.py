"""What is measured of an image, and what is kept of a case."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from harmony.core import DataError, Harmonized, NamedReport, Row, Stack
from harmony.evaluation import Cut, Evaluation, EvaluationSettings, Panel, QueryDomain, ScoredSlices, measure
from harmony.evaluation.panel import Answers
from harmony.evaluation.scoring import Part, means, score_methods
from harmony.judges import Truth
from harmony.methods import AdaptiveMethod
from harmony.methods.harmonizing_flows import Adaptation


def test_a_broken_contract_is_counted_in_the_rows():
    class Flat:
        def bits_per_dim(self, image):
            return torch.full((len(image),), 2.0)

    mask = torch.zeros(3, 1, 4, 4, dtype=torch.bool)
    mask[..., 1:3, 1:3] = True
    query = Stack(torch.where(mask, 0.5, 0.0), mask, torch.linspace(0, 1, 3))
    slices = ScoredSlices(query, None, Truth("sub-1", (1.0, 1.0, 1.0), None, None), None, None, torch.ones(3).bool())
    good = dict(measure(query.image, slices, Flat()))
    assert good == {"jitter": 0, "bpd": 2, "negatives": 0, "background_changed": 0}
    image = query.image.clone()
    image[0, 0, 0, 0], image[1, 0, 3, 3], image[2, 0, 1, 1] = 0.1, -0.1, -0.2
    bad = dict(measure(image, slices, Flat()))
    assert (bad["negatives"], bad["background_changed"]) == (2, 2)
    assert bad["jitter"] == pytest.approx(255 * 0.7 / 4 / 2, rel=1e-5)  # of the brain: one slice fell by 0.7 / 4


def test_without_a_density_all_but_the_likelihood_is_scored():
    image = slices().query.image
    with_bits, without = dict(measure(image, slices(), Bits())), dict(measure(image, slices(), None))
    assert with_bits == without | {"bpd": 0}
    assert means([Row("none", "x", "sub-1", "jitter", 0.25)]) == "none 0.25 jitter"


def test_a_part_is_done_when_all_of_it_is_there(tmp_path):
    part = Part(tmp_path / "gamma_0.7-sub-1.csv", keeps=True)
    row, kept = Row("none", "gamma_0.7", "sub-1", "psnr", 0.1 + 0.2), {"site/none/image": torch.rand(3, 2)}
    assert not part.done
    part.save(Answers([row], kept))
    assert part.done
    assert part.rows() == [row]
    assert torch.equal(part.kept()["site/none/image"], kept["site/none/image"])
    part.beside.unlink()
    assert not part.done
    assert Part(part.path, keeps=False).done


class Bits:
    def bits_per_dim(self, image):
        return torch.zeros(len(image))


def slices(name="sub-1_ses-A", subject="sub-1"):
    image = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros_like(image, dtype=torch.bool)
    mask[..., 4:12, 4:12] = True
    image = torch.where(mask, image, 0)
    query = Stack(image, mask, torch.linspace(0, 1, 2))
    known = Truth(name, (1.0, 1.0, 1.0), None, None, subject)
    return ScoredSlices(query, query, known, None, None, torch.ones(2).bool())


def test_the_psnr_of_the_brain_is_of_the_brain():
    """A grey level off by 0.1 inside the brain of a quarter of the slice: 20 dB there, 6 dB more over the slice."""
    cut = slices()
    image = torch.where(cut.query.mask, cut.query.image + 0.1, cut.query.image)
    found = dict(measure(image, cut, Bits()))
    assert found["psnr_brain"] == pytest.approx(20, abs=1e-3)
    assert found["psnr"] == pytest.approx(20 + 10 * 0.60206, abs=1e-3)


def test_the_middle_and_the_brain_are_told_apart():
    cut = replace(slices(), middle=torch.tensor([True, False]))
    image = cut.query.image.clone()
    image[1] = torch.where(cut.query.mask[1], 1 - image[1], 0)
    found = dict(measure(image, cut, None))
    assert (found["psnr_middle"], found["ssim_middle"]) == (100, pytest.approx(1))
    assert found["ssim_brain"] < found["ssim"] < 0.99
    assert found["psnr_brain"] < found["psnr"] < 99


def test_an_image_without_numbers_is_no_image():
    """It had 100 dB once: nan is not above 0."""
    broken = SimpleNamespace(harmonize=lambda stack: Harmonized(torch.full_like(stack.image, float("nan"))))
    with pytest.raises(DataError, match=r"\[sub-1_ses-A\]: broken made 512 pixels that are no numbers"):
        score_methods("exp", slices(), {"broken": broken}, Bits())


def test_rows_carry_subject_and_scan_apart():
    method = SimpleNamespace(harmonize=lambda stack: Harmonized(stack.image))
    _, rows = score_methods("exp", slices(), {"none": method}, Bits())
    assert {(row.subject, row.scan) for row in rows} == {("sub-1", "sub-1_ses-A")}
    assert Row("none", "exp", "sub-1", "psnr", 100.0, "sub-1_ses-A") in rows


@dataclass(frozen=True)
class Note(NamedReport):
    name: ClassVar[str] = "Note"

    def plain(self):
        return {"decision": "left", "number": 1.5}

    def words(self):
        return []


def test_what_a_method_found_out_is_scored_under_the_name_that_it_gives_itself():
    method = SimpleNamespace(harmonize=lambda stack: Harmonized(stack.image, report=Note()))
    _, rows = score_methods("exp", slices(), {"notes": method}, Bits())
    assert {row.metric: row.value for row in rows if "note" in row.metric} == {"note_number": 1.5}


class Remembers(AdaptiveMethod):
    """Writes down what is asked of it."""

    def __init__(self):
        self.log = []

    def harmonize(self, stack):
        return Harmonized(stack.image)

    def adapt(self, stacks, watch=None):
        self.log.append("adapt")
        return Adaptation([], 0, "", "adapted")

    def reset(self):
        self.log.append("reset")


def test_a_method_starts_afresh_in_each_domain(tmp_path):
    method, case = Remembers(), SimpleNamespace(name="sub-1", slices=lambda cut: slices())
    settings = EvaluationSettings("test", "test", None, False, 0, Cut(None, 1, 1.0))
    evaluation = Evaluation(tmp_path, {"adapts": method}, Bits(), Panel({}, {}, []), settings, None)
    for name in ("exp", "log"):
        evaluation.adapt(QueryDomain(name, [case], [case]))
    assert method.log == ["reset", "adapt", "reset", "adapt"]


def test_the_slice_that_is_drawn_has_most_of_the_lesions_and_is_the_middle_one_without():
    cut = slices()
    marked = torch.zeros(5, 2, 2, dtype=torch.bool)
    five = Stack(torch.zeros(5, 1, 2, 2), marked[:, None], torch.linspace(0, 1, 5))
    plain = ScoredSlices(five, None, cut.known, marked, marked, torch.ones(5).bool())
    assert plain.shown == 2
    marked[3] = True
    marked[1, 0] = True
    assert plain.shown == 3


def test_the_rim_is_what_lies_outside_of_all_middle_slices():
    """Also between them: every second slice is a middle one."""
    cut = SimpleNamespace(middle=torch.tensor([0, 0, 1, 0, 1, 0], dtype=torch.bool))
    assert ScoredSlices.rim.fget(cut).tolist() == [True, True, False, False, False, True]
