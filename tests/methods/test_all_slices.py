"""Every method is scored on all slices of the brain, the empty and the tiny ones among them, rim and middle apart."""

from dataclasses import replace
from math import isfinite

import battery
import pytest
import torch

from harmony import app
from harmony.evaluation import Case, Cut, measure
from harmony.evaluation.scoring import score_methods
from harmony.judges import BrainAge, Segmentation
from harmony.networks import AgeNet

CUT = Cut(count=3, step=2, lesion_ring=5.0)
LIKENESS = {
    "psnr",
    "psnr_brain",
    "psnr_middle",
    "psnr_brain_middle",
    "psnr_brain_rim",
    "ssim",
    "ssim_brain",
    "ssim_middle",
}


class Flat:
    def bits_per_dim(self, image):
        return torch.full((len(image),), 2.0)


def case(*, rim=True):
    """Eleven slices; a brain of one pixel in the first, none in the second and in one of the middle."""
    whole = battery.volume(11, 16, 32)
    mask = whole.mask.clone()
    mask[[0, 1, 5]] = False
    mask[0, 8, 16] = True
    if not rim:
        mask[:3] = mask[8:] = False
    truth = replace(whole, mask=mask, image=torch.where(mask, whole.image.clamp(min=0.1), 0))
    return Case(truth, truth, lambda volume: replace(volume, image=volume.image**1.5))


@pytest.mark.parametrize("name", app.members("method"))
def test_every_method_is_scored_on_all_slices(name):
    cfg, slices = battery.config(name), case().slices(CUT)
    method = app.build_methods(cfg, battery.networks_of(cfg), battery.reference(), 3.0)[name]
    assert len(slices.query) == 11

    class Run:
        def harmonize(self, query):
            with torch.no_grad():
                return battery.run(method, query)

    outcomes, rows = score_methods("exp", slices, {name: Run()}, Flat())
    assert outcomes[name].image.shape == slices.query.image.shape
    found = {row.metric: row.value for row in rows}
    assert found.keys() >= LIKENESS | {"bpd", "jitter", "negatives", "background_changed"}
    assert all(map(isfinite, found.values()))


def test_the_middle_is_what_the_papers_score_and_the_rim_is_outside_of_it():
    given = case()
    slices = given.slices(CUT)
    assert slices.middle.nonzero().flatten().tolist() == given.scan.select(3, 2).tolist() == [3, 5, 7]
    assert slices.rim.nonzero().flatten().tolist() == [0, 1, 2, 8, 9, 10]
    assert not given.slices(Cut(None, 1, 5.0)).rim.any()


def test_rim_and_middle_are_scored_apart():
    """An error of 0.1 in the rim's brain alone: 20 dB there, no loss in the middle."""
    slices = case().slices(CUT)
    truth = slices.truth
    image = torch.where(slices.rim[:, None, None, None] & truth.mask, truth.image + 0.1, truth.image)
    found = dict(measure(image, slices, Flat()))
    assert found["psnr_brain_rim"] == pytest.approx(20, abs=1e-4)
    assert found["psnr_brain_middle"] == found["psnr_middle"] == 100
    assert found["ssim_middle"] == pytest.approx(1)
    assert 20 < found["psnr_brain"] < found["psnr"] < 100


def test_what_has_no_pixels_has_no_row():
    slices = case(rim=False).slices(CUT)
    found = dict(measure(slices.query.image, slices, Flat()))
    assert "psnr_brain_rim" not in found
    assert found.keys() >= LIKENESS - {"psnr_brain_rim"}


def test_the_judges_are_asked_about_slices_with_brain():
    """Slices without brain, whatever a network says of them, change no answer."""
    slices = case().slices(CUT)
    query, brain = slices.query, slices.query.with_brain
    torch.manual_seed(0)
    age = BrainAge(network=AgeNet(widths=[4, 8], age_mean=40.0, age_deviation=10.0), training_ages=[40.0])
    kept = type(query)(query.image[brain], query.mask[brain], query.position[brain])
    assert age.score(query, slices.known) == pytest.approx(age.score(kept, slices.known))

    class Everywhere(torch.nn.Module):
        def forward(self, image):
            return torch.stack([torch.zeros_like(image[:, 0]), torch.ones_like(image[:, 0])], 1)

    judge = Segmentation(segmenter=Everywhere(), structures={"gm": 1}, batch=4)
    volume = judge.score(query, slices.known)["volume_gm_ml"]
    assert volume == pytest.approx(int(brain.sum()) * 16 * 32 / 1000)
