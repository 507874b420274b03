"""Brain masks of other programs, which stand-ins play here: the same words, the same files."""

import json
import sys
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from phantoms import AFFINE, phantom, save, scan_of

from harmony.core import ConfigError, DataError, Scan
from harmony.data import Preprocess, read_nifti
from harmony.data.volumes import brain_extraction
from harmony.data.volumes.brain_extraction import TOOLS, brain_mask_of, find_tool

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

    def install(program, above=150, refuse=""):
        path = folder / program
        path.write_text(STAND_IN.format(python=sys.executable, log=str(log), above=above, refuse=refuse))
        path.chmod(0o755)
        return lambda: len(log.read_text().splitlines()) if log.exists() else 0

    return install


@pytest.mark.parametrize("program", [tool.program for tool in TOOLS])
def test_the_mask_is_kept_with_what_made_it(program, stand_in, tmp_path):
    calls = stand_in(program)
    scan, path = replace(scan_of(tmp_path), labels=None), tmp_path / "out" / "sub-01_desc-brain_mask.nii.gz"
    made = brain_mask_of(scan, path, find_tool())
    data = read_nifti(scan.path, subject="sub-01").data
    np.testing.assert_array_equal(np.asarray(nibabel.load(path).dataobj) > 0, data > 150)
    about = json.loads((tmp_path / "out" / "sub-01_desc-brain_mask.json").read_text())
    assert about == {"image": made.image, "tool": program, "version": "unknown"}
    brain_mask_of(scan, path, find_tool())
    assert calls() == 1
    scan_of(tmp_path, gain=0.9)  # another image under the same name
    brain_mask_of(scan, path, find_tool())
    assert calls() == 2


def test_none_installed_is_one_sentence_that_says_what_to_install(stand_in):
    with pytest.raises(ConfigError, match="mri_synthstrip") as caught:
        find_tool()
    assert "hd-bet" in str(caught.value)


def test_synthstrip_comes_first(stand_in):
    stand_in("hd-bet")
    assert find_tool().program == "hd-bet"
    stand_in("mri_synthstrip")
    assert find_tool().program == "mri_synthstrip"


@pytest.mark.parametrize(
    ("how", "said"),
    [({"refuse": "sys.exit('no weights here')"}, "no weights here"), ({"above": 9999}, "found no brain")],
)
def test_a_tool_that_fails_names_the_scan_and_leaves_no_mask(how, said, stand_in, tmp_path):
    stand_in("hd-bet", **how)
    with pytest.raises(DataError, match=said) as caught:
        brain_mask_of(scan_of(tmp_path), tmp_path / "out" / "m.nii.gz", find_tool())
    assert caught.value.subject == "sub-01"
    assert not (tmp_path / "out" / "m.nii.gz").exists()


def test_freesurfers_version_is_read(stand_in, tmp_path):
    stand_in("mri_synthstrip")
    (tmp_path / "build-stamp.txt").write_text("freesurfer-linux-centos7_x86_64-7.4.1-20230614-7eb8460\n")
    assert brain_extraction.TOOLS[0].version("mri_synthstrip").startswith("7.4.1")


@pytest.mark.parametrize("background", [0.0, 4.0])
def test_a_head_without_a_mask_is_refused_and_told_of_the_tools(background, tmp_path):
    affine = AFFINE @ np.diag([3.6, 3.6, 3.6, 1])  # 3100 ml
    path = save(tmp_path / "h_T1w.nii.gz", np.maximum(phantom()[0], background), affine)
    with pytest.raises(DataError, match="mask=auto"):
        Preprocess(spacing=4.0, axis="axial", size=(128, 128), percentile=99.5)(Scan(path, "sub-1"))
