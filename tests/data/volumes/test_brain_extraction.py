"""Brain masks: deepbet's own on a real head, other programs by stand-ins (the same words, the same files)."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from phantoms import AFFINE, phantom, save, scan_of

from harmony.core import ConfigError, DataError, Scan
from harmony.data import Preprocess, read_nifti
from harmony.data.volumes import deepbet_mask
from harmony.data.volumes.brain_extraction import (
    AUTO,
    TOOLS,
    brain_mask_of,
    find_tool,
    may_find,
    millilitres,
    tool_for,
    unlike_a_brain,
)

REAL = Path(os.environ.get("HARMONY_REAL_DATA", Path(__file__).parents[3] / "../shared/data")) / "real"
PROGRAMS = ["synthstrip", "hd-bet"]
ADULT = AFFINE @ np.diag([2.5, 2.5, 2.5, 1])  # the phantom of 66 ml becomes one of 1035
# Plays both programs: the mask is where the image is above 150, written where the real one would write it.
STAND_IN = """#!{python}
import sys
import nibabel, numpy as np
words = dict(zip(sys.argv[1:], sys.argv[2:]))
{refuse}
image = nibabel.load(words["-i"])
assert words["-i"].endswith(".nii.gz")
if sys.argv[0].endswith("hd-bet"):
    assert "--save_bet_mask" in sys.argv and "--no_bet_image" in sys.argv and words["-device"] in ("cpu", "cuda")
    mask = words["-o"][: -len(".nii.gz")] + "_bet.nii.gz"
else:
    mask = words["-m"]
with open({log!r}, "a") as log:
    log.write(sys.argv[0] + "\\n")
nibabel.save(nibabel.Nifti1Image((np.asarray(image.dataobj) > {above}).astype(np.uint8), image.affine), mask)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    folder, log = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(name, above=0, refuse=""):
        path = folder / TOOLS[name].program
        path.write_text(STAND_IN.format(python=sys.executable, log=str(log), above=above, refuse=refuse))
        path.chmod(0o755)
        return lambda: len(log.read_text().splitlines()) if log.exists() else 0

    return install


def head_of(folder, gain=1.0):
    return Scan(save(folder / "sub-01_T1w.nii.gz", phantom()[0] * gain, ADULT), "sub-01")


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_mask_is_kept_with_what_made_it(name, stand_in, tmp_path):
    calls = stand_in(name)
    scan, path = head_of(tmp_path), tmp_path / "out" / "sub-01_desc-brain_mask.nii.gz"
    made = brain_mask_of(scan, path, find_tool(name))
    data = read_nifti(scan.path, subject="sub-01").data
    np.testing.assert_array_equal(np.asarray(nibabel.load(path).dataobj) > 0, data > 0)
    about = json.loads((tmp_path / "out" / "sub-01_desc-brain_mask.json").read_text())
    assert about == {"image": made.image, "tool": TOOLS[name].program, "version": "unknown"}
    brain_mask_of(scan, path, find_tool(name))
    assert calls() == 1
    head_of(tmp_path, gain=0.9)  # another image under the same name
    brain_mask_of(scan, path, find_tool(name))
    assert calls() == 2


@pytest.mark.parametrize(("name", "said"), [("synthstrip", "mri_synthstrip"), ("hd-bet", "pip install hd-bet")])
def test_a_program_that_is_not_there_is_one_sentence_that_says_what_to_install(name, said, stand_in):
    with pytest.raises(ConfigError, match=said):
        may_find(name)


def test_deepbet_needs_nothing_and_is_what_auto_means(stand_in):
    assert find_tool(AUTO) is find_tool("deepbet")
    assert find_tool().version("deepbet") == "1.0.2"
    assert may_find("masks/{subject}.nii.gz") is None
    assert may_find(None) is None


@pytest.mark.parametrize(
    ("how", "said"),
    [({"refuse": "sys.exit('no weights here')"}, "no weights here"), ({"above": 9999}, "found no brain")],
)
def test_a_tool_that_fails_names_the_scan_and_leaves_no_mask(how, said, stand_in, tmp_path):
    stand_in("hd-bet", **how)
    with pytest.raises(DataError, match=said) as caught:
        brain_mask_of(scan_of(tmp_path), tmp_path / "out" / "m.nii.gz", find_tool("hd-bet"))
    assert caught.value.subject == "sub-01"
    assert not (tmp_path / "out" / "m.nii.gz").exists()


def test_freesurfers_version_is_read(stand_in, tmp_path):
    stand_in("synthstrip")
    (tmp_path / "build-stamp.txt").write_text("freesurfer-linux-centos7_x86_64-7.4.1-20230614-7eb8460\n")
    assert TOOLS["synthstrip"].version("mri_synthstrip").startswith("7.4.1")


def test_a_mask_of_no_brain_is_told_by_its_volume_and_its_pieces(tmp_path):
    native = read_nifti(head_of(tmp_path).path, subject="s")
    brain = native.data > 0
    assert unlike_a_brain(brain, native) is None
    two = brain.copy()
    two[brain.shape[0] // 2 - 1 : brain.shape[0] // 2 + 1] = False
    assert "in 2 pieces (5" in unlike_a_brain(two, native)
    speck = brain.copy()
    speck[0, 0, 0] = True
    assert unlike_a_brain(speck, native) is None
    large = replace(native, affine=native.affine @ np.diag([2, 2, 2, 1]))
    assert millilitres(brain, large) == pytest.approx(8 * millilitres(brain, native))
    assert f"a brain of {millilitres(brain, large):.0f} ml" in unlike_a_brain(brain, large)


def test_only_a_head_with_its_skull_on_gets_a_mask_by_itself(tmp_path):
    scan = head_of(tmp_path)
    stripped = read_nifti(scan.path, subject="s")
    assert tool_for(AUTO, scan, stripped) is None
    assert tool_for("deepbet", scan, stripped).program == "deepbet"
    bright = replace(stripped, data=stripped.data + 4)  # air that is not 0
    large = replace(stripped, affine=stripped.affine @ np.diag([2, 2, 2, 1]))
    for head in (bright, large):
        assert tool_for(AUTO, scan, head).program == "deepbet"
        assert tool_for(AUTO, replace(scan, mask=scan.path), head) is None
        assert tool_for(None, scan, head) is None


def test_only_the_networks_that_harmony_knows_are_opened(tmp_path):
    altered = tmp_path / "model.pt"
    altered.write_bytes(b"PK\x03\x04 another program")
    with pytest.raises(ConfigError, match="not opened") as caught:
        deepbet_mask.known(altered)
    assert "deepbet==1.0.2" in str(caught.value)
    altered.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        deepbet_mask.known(altered)


def test_an_image_without_a_brain_is_said_by_deepbet_too(tmp_path):
    dot = np.zeros((40, 40, 40), np.float32)
    dot[20, 20, 20] = 1
    scan = Scan(save(tmp_path / "n_T1w.nii.gz", dot, AFFINE), "sub-1")
    with pytest.raises(DataError, match="deepbet found "):
        brain_mask_of(scan, tmp_path / "m.nii.gz", find_tool())


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="real scans not found: set HARMONY_REAL_DATA")
@pytest.mark.parametrize(("subject", "name"), [("uih", "sub-uih"), ("xa30", "sub-xa30_acq-prescan")])
def test_a_real_head_has_the_mask_that_people_have_looked_at(subject, name, tmp_path):
    scan = Scan(REAL / f"sub-{subject}" / "anat" / f"{name}_T1w.nii.gz", f"sub-{subject}")
    native = read_nifti(scan.path, subject=scan.subject)
    assert tool_for(AUTO, scan, native) is find_tool()
    path = tmp_path / "mask.nii.gz"
    brain_mask_of(scan, path, find_tool())
    ours = np.asarray(nibabel.load(path).dataobj) > 0
    folder = REAL / "derivatives" / "brain" / f"sub-{subject}" / "anat"
    theirs = np.asarray(nibabel.load(folder / f"sub-{subject}_desc-brain_mask.nii.gz").dataobj) > 0
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.97


@pytest.mark.parametrize("background", [0.0, 4.0])
def test_a_head_without_a_mask_is_refused_and_told_of_the_tools(background, tmp_path):
    affine = AFFINE @ np.diag([3.6, 3.6, 3.6, 1])  # 3100 ml
    path = save(tmp_path / "h_T1w.nii.gz", np.maximum(phantom()[0], background), affine)
    with pytest.raises(DataError, match="mask=auto"):
        Preprocess(spacing=4.0, axis="axial", size=(128, 128), percentile=99.5)(Scan(path, "sub-1"))
