"""What the picture of a result shows: the files before and after, the mask that was used, the reference beside."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
from phantoms import phantom, preprocess, save
from scipy.ndimage import binary_erosion

from harmony import reports
from harmony.core import Harmonized
from harmony.core.model_card import ModelCard
from harmony.core.reference import Reference
from harmony.data import single_scan
from harmony.delivery import Applied, Derivatives, Request, Worker
from harmony.methods import Method

DATA, _ = phantom()


class Darker(Method):
    def harmonize(self, stack):
        return Harmonized(0.5 * stack.image)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A scan through the door -> its planes and histograms, in place of a PNG."""
    seen = {}
    monkeypatch.setattr(
        reports, "before_after_figure", lambda path, planes, histograms: seen.update(planes=planes, **histograms)
    )

    def through(scan, **changes):
        mask = None if scan.mask is None else str(scan.mask)
        request = Request([tmp_path], tmp_path / "out", "darker", **{"original_scale": True, "mask": mask} | changes)
        card = ModelCard("flow", "0", preprocess().settings(), {"subjects": 3}, {}, "")
        reference = Reference.of([preprocess()(scan)], positions=8, quantiles=512)
        applied = Applied("model", Darker(), None, preprocess(), card, "w", reference)
        Worker(request, applied, Derivatives(request.output, "darker")).one(scan)
        return seen

    return through


def scan_in(folder, data=DATA, mask=None):
    path = save(folder / "sub-01" / "anat" / "sub-01_T1w.nii.gz", data)
    return single_scan(path, None if mask is None else save(folder / "mask.nii.gz", mask))


@pytest.mark.parametrize("original_scale", [True, False])
def test_before_and_after_are_the_files_in_one_unit(original_scale, drawn, tmp_path):
    for plane in drawn(scan_in(tmp_path), original_scale=original_scale)["planes"]:
        bright = plane.mask & (plane.before > 0.4) & (plane.before < 0.95)
        assert bright.sum() > 100
        assert np.allclose(plane.after[bright], 0.5 * plane.before[bright], atol=0.03)
        assert np.percentile(plane.before[plane.mask], 99.5) == pytest.approx(1, abs=0.1)


def test_the_outline_is_of_the_mask_that_was_used(drawn, tmp_path):
    """A mask that leaves the right half of the brain out: it is in the picture, outside of the outline."""
    half = ((DATA > 0) & (np.arange(len(DATA)) < len(DATA) / 2)[:, None, None]).astype(np.uint8)
    axial = drawn(scan_in(tmp_path, mask=half))["planes"][0]
    whole = axial.before > 0.05
    assert 0.2 < (axial.mask & whole).sum() / whole.sum() < 0.9
    outside = whole & ~axial.mask
    assert outside.any()
    unchanged = np.isclose(axial.after[outside], axial.before[outside], atol=0.02)
    assert unchanged.mean() > 0.8  # but for a seam of a voxel along the mask
    assert outside.nonzero()[1].mean() > axial.mask.nonzero()[1].mean()  # the right half is on the right


def test_the_reference_lies_at_the_same_place_and_has_its_own_histogram(drawn, tmp_path):
    """Of a reference that was made of this very scan."""
    seen = drawn(scan_in(tmp_path))
    for plane in seen["planes"]:
        both = binary_erosion(plane.mask & (plane.reference > 0), iterations=3)
        assert both.sum() > 0.5 * plane.mask.sum()
        assert np.corrcoef(plane.before[both], plane.reference[both])[0, 1] > 0.9
    assert all(seen[name].sum() == pytest.approx(1) for name in ("before", "after", "reference"))
    apart = {name: np.abs(seen["reference"].cumsum() - seen[name].cumsum()).max() for name in ("before", "after")}
    assert apart["before"] < 0.1
    assert apart["after"] > 0.3


def test_left_and_right_are_in_doubt_where_the_file_does_not_say(drawn, tmp_path):
    scan = scan_in(tmp_path)
    assert [plane.ends for plane in drawn(scan)["planes"]] == [("L", "R"), ("L", "R"), ("P", "A")]
    header = nibabel.load(scan.path).header
    image = nibabel.Nifti1Image(DATA, None, header)
    image.header["sform_code"], image.header["qform_code"] = 0, 0
    path = tmp_path / "sub-02" / "anat" / "sub-02_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    nibabel.save(image, path)
    assert drawn(replace(scan, path=path, subject="sub-02"))["planes"][0].ends == ("L?", "R?")
