"""From Python: the page's own words, and the same voxels as the command's."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from phantoms import AFFINE, phantom

import harmony
from harmony.core import ConfigError, DataError
from harmony.delivery.construct import construct
from harmony.delivery.in_python import method_settings

ROOT = Path(__file__).parents[2]
HEAVY = ("lightning", "monai", "wandb", "jinja2", "pybtex", "nflows", "sklearn", "scipy.stats", "scipy.interpolate")
HEAVY += ("harmony.judges", "harmony.evaluation", "harmony.reports")


@pytest.fixture
def image():
    """A phantom as large as a brain."""
    data, _ = phantom()
    affine = AFFINE @ np.diag([2.6, 2.6, 2.6, 1])
    return nibabel.Nifti1Image(data.astype(np.float32), affine)


def test_the_example_of_the_page_works_as_it_stands(image, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARMONY_CACHE", str(tmp_path / "cache"))
    image.to_filename("scan.nii.gz")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
    names = {}
    exec(code, names)
    written = nibabel.load("harmonized.nii.gz")
    assert written.shape == image.shape
    assert np.allclose(written.affine, image.affine, atol=1e-5)  # a header holds float32
    assert names["report"]["Model"] == "ixi-hh"
    assert names["report"]["Intensity"] == "the scan's own"
    assert "Sources" not in names["report"]
    assert "{" in capsys.readouterr().out


def test_a_mask_and_the_references_unit_are_taken(image, tmp_path, monkeypatch):
    monkeypatch.setenv("HARMONY_CACHE", str(tmp_path))
    inside = np.asarray(image.dataobj) > 0
    mask = nibabel.Nifti1Image(inside.astype(np.uint8), image.affine)
    model = harmony.load(method="histogram_matching")
    own, report = model.harmonize(image, mask)
    relative, _ = model.harmonize(image, mask, original_scale=False)
    assert report["Method"] == "histogram_matching"
    assert np.allclose(own.get_fdata(), relative.get_fdata() * report["RobustMaximum"], atol=1e-2)
    assert not np.asarray(own.dataobj)[~inside].any()
    with pytest.raises(DataError, match="one value everywhere"):
        model.harmonize(nibabel.Nifti1Image(np.ones((8, 8, 8), np.float32), np.eye(4)))


def test_what_cannot_be_built_without_a_config_is_said():
    with pytest.raises(ConfigError, match="nothing: there are"):
        method_settings("nothing")
    with pytest.raises(ConfigError, match="put together from several configs -> use the command"):
        method_settings("blindharmony")


@pytest.mark.parametrize(
    "target", ["os.system", "harmony.core.files.write_atomic", "harmony.data.Atlas", "builtins.eval"]
)
def test_a_strangers_model_builds_nothing_but_networks_and_methods(target):
    with pytest.raises(ConfigError, match="not something harmony may build"):
        construct({"network": {"_target_": target, "x": 1}})


def test_plain_values_become_objects_and_partials():
    made = construct({"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.5, "says": "words"})
    assert (made.func.__name__, made.keywords) == ("Adam", {"lr": 0.5})
    assert construct([1, {"a": [2]}]) == [1, {"a": [2]}]


def test_the_start_of_harmonize_waits_for_nothing_that_it_does_not_need():
    """lightning, wandb, judges, pages: seconds each."""
    rooms = "harmony.harmonize, harmony.methods, harmony.delivery"
    code = f"import sys, {rooms}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
