"""A whole call: one unit for all, files and folders, processes that count together."""

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from phantoms import phantom, save
from test_worker import Darker, applied

from harmony.core import ConfigError, DataError
from harmony.delivery import Request, deliver
from harmony.delivery.shared_queue import SINCE
from harmony.methods import Unharmonized

DATA, _ = phantom()
NOBODY = ["false"]  # no further process


def voxels(path):
    return np.asarray(nibabel.load(path).dataobj)


def scans(folder, *gains):
    return [save(folder / f"sub-{k}_T1w.nii.gz", DATA * gain) for k, gain in enumerate(gains)]


def request(folder, *sources, output="out", **changes):
    return Request(list(sources), folder / output, "none", **{"mask": None} | changes)


def results(folder):
    return sorted(folder.glob("out/sub-*/anat/*_T1w.nii.gz"))


def test_several_scans_come_out_in_one_unit_and_it_is_said(tmp_path, capsys):
    files = scans(tmp_path, 1.0, 7.0)
    deliver(request(tmp_path, *files), applied(Unharmonized()), NOBODY)
    a, b = map(voxels, results(tmp_path))
    assert np.allclose(a, b, rtol=1e-4)
    assert np.percentile(a[DATA > 0], 99.5) == pytest.approx(1, abs=0.01)
    assert "intensities: the reference's" in capsys.readouterr().out
    about = json.loads(results(tmp_path)[0].with_suffix("").with_suffix(".json").read_text())
    assert about["Intensity"].startswith("the reference's: 1 is")
    deliver(request(tmp_path, *files, original_scale=True), applied(Unharmonized()), NOBODY)
    assert np.allclose(voxels(results(tmp_path)[1]), 7 * DATA)
    assert "intensities: the scan's own" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["made.nii.gz", "made.nii"])
def test_a_file_is_written_where_a_file_was_asked_for(name, tmp_path):
    (scan,) = scans(tmp_path / "in", 1.0)
    one = request(tmp_path, scan, output=f"there/{name}")
    outcome = deliver(one, applied(Darker()), NOBODY)
    assert (outcome.harmonized, outcome.page) == (1, None)
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["made.json", name]
    assert voxels(tmp_path / "there" / name).max() < 0.6 * DATA.max()  # in the scan's own unit
    assert json.loads((tmp_path / "there" / "made.json").read_text())["Sources"] == [scan.name]
    assert deliver(one, applied(Darker()), NOBODY).done == 1
    assert deliver(one, applied(Unharmonized(), weights="other"), NOBODY).harmonized == 1  # its own is replaced


def test_a_file_that_harmony_did_not_make_of_this_scan_is_never_replaced(tmp_path):
    one, other = scans(tmp_path, 1.0, 2.0)
    with pytest.raises(DataError, match=r"sub-1_T1w\.nii\.gz: is there already"):
        deliver(request(tmp_path, one, output=other.name), applied(Darker()), NOBODY)
    with pytest.raises(DataError, match="is there already"):
        deliver(request(tmp_path, one, output=one.name), applied(Darker()), NOBODY)
    with pytest.raises(ConfigError, match="one file for 2 scans -> name a folder"):
        deliver(request(tmp_path, one, other, output="both.nii.gz"), applied(Darker()), NOBODY)
    deliver(request(tmp_path, one, output="made.nii.gz"), applied(Darker()), NOBODY)
    with pytest.raises(DataError, match="not what harmony made of this scan"):
        deliver(request(tmp_path, other, output="made.nii.gz"), applied(Darker()), NOBODY)
    assert np.allclose(voxels(other), 2 * DATA)


def test_what_another_process_of_the_call_made_counts_as_harmonized(tmp_path, monkeypatch):
    """Before: `3 harmonized, 1 were done` on a first run with two workers."""
    files = scans(tmp_path, 1.0, 2.0, 3.0)
    deliver(request(tmp_path, files[0], original_scale=False), applied(Unharmonized()), NOBODY)
    before = os.stat(results(tmp_path)[0].with_suffix("").with_suffix(".json")).st_mtime_ns
    monkeypatch.setenv(SINCE, str(before + 1))
    assert deliver(request(tmp_path, files[1], original_scale=False), applied(Unharmonized()), NOBODY) is None
    monkeypatch.delenv(SINCE)
    monkeypatch.setattr("harmony.delivery.call.time.time_ns", lambda: before + 1)  # when the call began
    outcome = deliver(request(tmp_path, *files), applied(Unharmonized()), NOBODY)
    assert (outcome.harmonized, outcome.done) == (2, 1)


def test_a_helper_leaves_the_last_word_to_the_process_that_started_it(tmp_path, monkeypatch, capsys):
    (scan,) = scans(tmp_path, 1.0)
    monkeypatch.setenv(SINCE, "1")
    broken = save(tmp_path / "sub-9_T1w.nii.gz", 0 * DATA)
    assert deliver(request(tmp_path, scan, broken, skip_bad=True), applied(Unharmonized()), NOBODY) is None
    assert not (tmp_path / "out" / "quality.html").exists()
    assert "intensities" not in capsys.readouterr().out
    monkeypatch.delenv(SINCE)
    outcome = deliver(request(tmp_path, scan, broken, skip_bad=True), applied(Unharmonized()), NOBODY)
    assert [error.subject for error in outcome.bad] == ["sub-9"]
    assert "sub-9" in Path(outcome.page).read_text()


def test_helpers_are_told_that_they_help(tmp_path):
    import sys

    script = f"import os, pathlib; pathlib.Path({str(tmp_path / 'since')!r}).write_text(os.environ[{SINCE!r}])"
    files = scans(tmp_path, 1.0, 2.0)
    deliver(request(tmp_path, *files, workers=2), applied(Unharmonized()), [sys.executable, "-c", script])
    assert int((tmp_path / "since").read_text()) > 0


def test_bits_per_dimension_are_scored_where_they_are_asked_for(tmp_path):
    (scan,) = scans(tmp_path, 1.0)
    deliver(request(tmp_path, scan, bits_per_dim=True), applied(Darker()), NOBODY)
    about = json.loads(results(tmp_path)[0].with_suffix("").with_suffix(".json").read_text())
    assert about["BitsPerDimension"]["after"] < about["BitsPerDimension"]["before"]
    assert "bits per dimension" in (tmp_path / "out" / "quality.html").read_text()
