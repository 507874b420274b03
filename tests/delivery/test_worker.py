"""One scan through the door and out of it: what is written, what is said of it, and when nothing is done."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import nibabel
import numpy as np
import pytest
import torch
from phantoms import phantom, preprocess, save

from harmony.core import DataError, Harmonized, NamedReport
from harmony.core.model_card import ModelCard
from harmony.core.reference import Reference
from harmony.core.unlike import THIN
from harmony.data import single_scan
from harmony.delivery import Applied, Derivatives, Request, Result, Worker
from harmony.delivery.quality import entry
from harmony.methods import AdaptiveMethod, Method, Unharmonized

DATA, _ = phantom()


@dataclass(frozen=True)
class Note(NamedReport):
    name: ClassVar[str] = "Note"
    alone: str | None = None

    def plain(self):
        return {"number": 1.5}

    def words(self):
        return [("number", "one and a half")]

    @property
    def left_alone(self):
        return self.alone


class Darker(Method):
    """Half of everything, said to be a smooth factor or not."""

    def __init__(self, *, smooth=False, report=None):
        self.smooth, self.report = smooth, report

    def harmonize(self, stack):
        gain = torch.where(stack.mask, 0.5, 0.0) if self.smooth else None
        return Harmonized(0.5 * stack.image, {"bpd": torch.zeros(3, len(stack))}, gain, report=self.report)


class Learner(AdaptiveMethod):
    """Returns what it was adapted to, and remembers how often it was put back."""

    def __init__(self):
        self.resets, self.factor = 0, 0.1

    def harmonize(self, stack):
        return Harmonized(self.factor * stack.image)

    def adapt(self, stacks, watch=None):
        from harmony.methods.harmonizing_flows import Adaptation

        self.factor = 0.5
        return Adaptation([], 7, "", "adapted")

    def reset(self):
        self.resets, self.factor = self.resets + 1, 0.1


class Flat:
    """The darker an image, the likelier it is."""

    def bits_per_dim(self, image):
        return image.flatten(1).mean(1)


def applied(method, weights="w", **changes):
    card = ModelCard("flow", "0", preprocess().settings(), {"subjects": 3}, {}, "")
    return Applied("model", method, density=Flat(), preprocess=preprocess(**changes), card=card, weights=weights)


def worker(folder, method, **changes):
    request = Request([folder], folder / "out", "darker", **{"original_scale": True, "mask": None} | changes)
    return Worker(request, applied(method), Derivatives(request.output, "darker"))


def scan_in(folder, data=DATA):
    return single_scan(save(folder / "sub-01" / "anat" / "sub-01_T1w.nii.gz", data), None)


def written(folder):
    path = folder / "out/sub-01/anat/sub-01_desc-darker_T1w.nii.gz"
    return np.asarray(nibabel.load(path).dataobj), json.loads(path.with_suffix("").with_suffix(".json").read_text())


@pytest.mark.parametrize("smooth", [False, True])
def test_what_is_written_is_the_scan_as_the_method_has_it(smooth, tmp_path):
    worker(tmp_path, Darker(smooth=smooth)).one(scan_in(tmp_path))
    data, about = written(tmp_path)
    common = np.percentile(DATA[DATA > 0], 99) >= DATA  # highlights keep their distance from the robust maximum
    assert np.allclose(data[common], 0.5 * DATA[common], atol=0.01)
    assert (about["Method"], about["Model"], about["Iterations"]) == ("darker", "model", 3)
    assert about["Reference"] == {"subjects": 3}
    assert about["Sources"] == ["sub-01/anat/sub-01_T1w.nii.gz"]
    assert about["MeanChange"] > 0.2
    assert "BitsPerDimension" not in about
    assert "Findings" not in about


def test_a_smooth_factor_acts_on_the_scans_own_voxels(tmp_path):
    """Detail of the scan that the model's grid has not: with the factor it is halved too, without it stays."""
    fine = np.where(DATA > 0, DATA + 12 * (np.indices(DATA.shape).sum(0) % 2), 0)
    spread = {}
    for smooth in (False, True):
        folder = tmp_path / str(smooth)
        request = Request([folder], folder / "out", "darker", original_scale=True)
        with_coarse = applied(Darker(smooth=smooth), spacing=4.0)
        Worker(request, with_coarse, Derivatives(request.output, "darker")).one(scan_in(folder, fine))
        data = written(folder)[0]
        spread[smooth] = float(np.abs(np.diff(data[13:17, 16:20, 13:17], axis=0)).mean())
    assert spread[True] == pytest.approx(0.5 * spread[False], rel=0.2)


def test_what_a_method_found_out_is_in_the_sidecar_and_on_the_page(tmp_path, capsys):
    one = worker(tmp_path, Darker(report=Note(alone="nothing was needed")))
    one.one(scan_in(tmp_path))
    about = written(tmp_path)[1]
    assert about["Note"] == {"number": 1.5}
    assert (about["Findings"], about["LeftAlone"]) == ({"number": "one and a half"}, "nothing was needed")
    shown = entry(next(one.output.results()))
    assert shown.left_alone == "nothing was needed"
    assert ("number", "one and a half") in shown.facts
    facts = dict(shown.facts)
    assert facts["harmonized"] == f"{about['HarmonizedVolume']:.0f} ml, 100 % of the brain mask"
    assert facts["brain mask"] == "what is not background"
    assert (facts["unlike known brains"], shown.missed) == ("no", 0)
    assert "left alone, as nothing was needed" in capsys.readouterr().out


def test_a_scan_like_no_brain_is_named_whatever_the_method_makes_of_it(tmp_path, capsys, monkeypatch):
    """A child, of a model that knows adults; and what the check of the image says."""
    scan = replace(scan_in(tmp_path), age=3.0)
    one = worker(tmp_path, Unharmonized())
    reference = Reference.of([one.applied.preprocess(scan)], positions=8, quantiles=16)
    card = replace(one.applied.card, reference={"subjects": 3, "ages": [20.0, 86.0]})
    one.applied = replace(one.applied, reference=reference, card=card)
    one.one(scan)
    warnings = written(tmp_path)[1]["Warnings"]
    assert any("a child of 3" in line for line in warnings)
    shown = entry(next(one.output.results()))
    assert shown.warnings == warnings
    assert dict(shown.facts)["unlike known brains"] == "yes, see above"
    assert warnings[0] in capsys.readouterr().out


def test_the_robust_maximum_is_one_where_that_was_asked_for(tmp_path):
    worker(tmp_path, Unharmonized(), original_scale=False).one(scan_in(tmp_path))
    data, about = written(tmp_path)
    assert np.percentile(data[DATA > 0], 99.5) == pytest.approx(1, abs=0.01)
    assert np.allclose(data * about["RobustMaximum"], DATA, rtol=1e-5)


def test_an_adaptive_method_starts_afresh_with_every_scan(tmp_path):
    method = Learner()
    worker(tmp_path, method).one(scan_in(tmp_path))
    assert method.resets == 1
    data, about = written(tmp_path)
    assert about["Iterations"] == 7
    assert data.max() == pytest.approx(0.5 * DATA.max(), rel=0.05)  # adapted before it harmonized


def test_a_scan_is_done_until_its_voxels_its_model_or_its_settings_change(tmp_path):
    scan, plain = scan_in(tmp_path), worker(tmp_path, Darker())
    plain.one(scan)
    again = worker(tmp_path, Darker())
    again.one(scan)
    assert (again.harmonized, again.done) == (0, 1)
    others = [
        worker(tmp_path, Darker(), settings={"x": 1}),
        replace(plain, applied=applied(Darker(), weights="other"), harmonized=0),
        worker(tmp_path, Darker(), original_scale=False),
        worker(tmp_path, Darker(), skip_done=False),
    ]
    for other in others:
        other.one(scan)
        assert (other.harmonized, other.done) == (1, 0)
        worker(tmp_path, Darker()).one(scan)  # as it was
    save(scan.path, DATA * 1.5)
    changed = worker(tmp_path, Darker(), skip_done=True)
    changed.one(scan)
    assert changed.harmonized == 1


def test_an_image_without_numbers_is_not_written(tmp_path):
    broken = worker(tmp_path, type("Broken", (), {"harmonize": lambda self, stack: Harmonized(stack.image / 0 * 0)})())
    with pytest.raises(DataError, match=r"\[sub-01\]: darker made \d+ pixels that are no numbers"):
        broken.one(scan_in(tmp_path))
    assert not (tmp_path / "out").exists()


def test_the_page_names_the_share_of_the_mask_that_was_harmonized(tmp_path):
    about = {
        "Method": "darker", "Intensity": "own", "Seconds": 1.0, "HarmonizedVolume": 1499.0, "NotHarmonizedVolume": 0.6,
        "BrainMask": "sub-1_mask.nii.gz", "BrainExtraction": {"Tool": "deepbet", "Version": "1.0"}, "Remarks": ["a"],
        **dict.fromkeys(["MethodSettings", "Model", "Reference", "HarmonyVersion"], ""),
    }  # fmt: skip
    shown = entry(Result("one", about, tmp_path / "one.png"))
    facts = dict(shown.facts)
    assert facts["harmonized"] == "1499 ml, 99.9 % of the brain mask"  # 99.96 is not all of it
    assert facts["brain mask"] == "found by deepbet 1.0"
    assert (shown.missed, shown.remarks) == (pytest.approx(0.0004, abs=1e-5), ["a"])
    thin = entry(Result("one", about | {"Warnings": [THIN]}, tmp_path / "one.png"))
    assert dict(thin.facts)["unlike known brains"] == "cannot be told, see above"
    del about["BrainExtraction"], about["HarmonizedVolume"]
    older = entry(Result("one", about, tmp_path / "one.png"))
    assert dict(older.facts)["brain mask"] == "given, sub-1_mask.nii.gz"
    assert "harmonized" not in dict(older.facts)
