"""What one scan's image is measured by, and whose state a domain starts from."""

from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir

from harmony import app, evaluate, judging
from harmony.core import Row, Stack
from harmony.core.runs import RunFolder
from harmony.domains import QueryDomain, Slices
from harmony.downstream import Truth
from harmony.methods import AdaptiveMethod
from harmony.methods.harmonizing_flows import Adaptation


class Bits:
    def bits_per_dim(self, image):
        return torch.zeros(len(image))


def slices(name="sub-1_ses-A", subject="sub-1"):
    image = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros_like(image, dtype=torch.bool)
    mask[..., 4:12, 4:12] = True
    image = torch.where(mask, image, 0)
    query = Stack(image, mask, torch.linspace(0, 1, 2))
    return Slices(query, query, Truth(name, (1.0, 1.0, 1.0), None, None, subject), None, None)


def test_the_psnr_of_the_brain_is_of_the_brain():
    """A grey level off by 0.1 inside the brain of a quarter of the slice: 20 dB there, 6 dB more over the slice."""
    cut = slices()
    image = torch.where(cut.query.mask, cut.query.image + 0.1, cut.query.image)
    found = dict(evaluate.measure(image, cut, Bits()))
    assert found["psnr_brain"] == pytest.approx(20, abs=1e-3)
    assert found["psnr"] == pytest.approx(20 + 10 * 0.60206, abs=1e-3)


def test_rows_carry_subject_and_scan_apart():
    cut = slices()
    method = SimpleNamespace(harmonize=lambda stack: SimpleNamespace(image=stack.image, trace={}))
    _, rows = evaluate.score_subject("exp", cut, {"none": method}, Bits())
    assert {(row.subject, row.scan) for row in rows} == {("sub-1", "sub-1_ses-A")}
    assert Row("none", "exp", "sub-1", "psnr", 100.0, "sub-1_ses-A") in rows


class Remembers(AdaptiveMethod):
    """Writes down what is asked of it."""

    def __init__(self):
        self.log = []

    def harmonize(self, stack):
        return SimpleNamespace(image=stack.image, trace={})

    def adapt(self, stacks, watch=None):
        self.log.append("adapt")
        return Adaptation([], 0, "", "adapted")

    def reset(self):
        self.log.append("reset")


def test_a_method_starts_afresh_in_each_domain(tmp_path):
    method, case = Remembers(), SimpleNamespace(name="sub-1", cut=lambda cfg: slices())
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config")
    for name in ("exp", "log"):
        domain = QueryDomain(name, [case], [case])
        evaluate.adapt_all(cfg, RunFolder(tmp_path), domain, {"adapts": method}, judging.Jury())
    assert method.log == ["reset", "adapt", "reset", "adapt"]
