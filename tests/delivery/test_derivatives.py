"""Results never take another's place: neither a data set's, nor another scan's, nor another method's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from phantoms import phantom, save

from harmony.cli.configs import choices
from harmony.core import DataError, Scan
from harmony.core.digests import sha256
from harmony.data import read_nifti, single_scan
from harmony.delivery import output as outputs
from harmony.delivery.derivatives import Derivatives, label, relative_name

DATA = phantom()[0]


def scan_at(path: Path, gain: float = 1.0) -> Scan:
    return single_scan(save(path, DATA * gain), None)


def done(output: Derivatives, scan: Scan) -> None:
    native = read_nifti(scan.path, subject=scan.subject)
    output.describe(version="0", sources=[scan.path])
    output.write(scan, native.data, native, {"Method": output.method, "MadeFrom": {"image": sha256(scan.path)}})


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


FOREIGN = {
    "raw": {"Name": "ours", "BIDSVersion": "1.9.0", "DatasetType": "raw"},
    "another tool's": {"Name": "x", "GeneratedBy": [{"Name": "fMRIPrep"}]},
    "a list": [],
    "no description": None,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_data_set_of_others_is_left_as_it_is(kind, tmp_path):
    scan = scan_at(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    if FOREIGN[kind] is not None:
        (tmp_path / "dataset_description.json").write_text(json.dumps(FOREIGN[kind]))
    before = contents(tmp_path)
    output = Derivatives(tmp_path, "none")
    for act in (lambda: output.check([scan]), lambda: output.describe(version="0", sources=[tmp_path])):
        with pytest.raises(DataError, match=r"harmony did not make.*output="):
            act()
    assert contents(tmp_path) == before


def test_a_folder_of_harmonys_or_a_new_one_is_taken(tmp_path):
    scan = scan_at(tmp_path / "in" / "sub-01_T1w.nii.gz")
    output = Derivatives(tmp_path / "out", "none")
    output.check([scan])
    assert not output.root.exists()
    done(output, scan)
    output.check([scan])


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("sub-01_T1w.nii.gz", "sub-01/anat/sub-01_desc-none_T1w.nii.gz"),
        ("sub-01_ses-2_T1w.nii", "sub-01/ses-2/anat/sub-01_ses-2_desc-none_T1w.nii.gz"),
        (
            "sub-01_acq-a_ce-g_rec-n_dir-AP_run-2_echo-1_part-mag_T1w.nii.gz",
            "sub-01/anat/sub-01_acq-a_ce-g_rec-n_dir-AP_run-2_echo-1_part-mag_desc-none_T1w.nii.gz",
        ),
        ("sub-01_space-MNI_desc-preproc_T2w.nii.gz", "sub-01/anat/sub-01_space-MNI_desc-none_T2w.nii.gz"),
        ("sub-01.nii.gz", "sub-01/anat/sub-01_desc-none_T1w.nii.gz"),
        ("Head 1.nii", "sub-Head1/anat/sub-Head1_desc-none_T1w.nii.gz"),
    ],
)
def test_names_keep_what_tells_scans_apart(name, result, tmp_path):
    output, scan = Derivatives(tmp_path, "none"), single_scan(Path("x") / name, None)
    assert output.image(scan) == tmp_path / result
    assert output.sidecar(scan).name == Path(result).name.replace(".nii.gz", ".json")


def test_two_runs_of_a_session_have_figures_of_their_own(tmp_path):
    output = Derivatives(tmp_path, "none")
    names = {output.figure(single_scan(Path(f"sub-1_run-{k}_T1w.nii"), None)) for k in (1, 2)}
    assert len(names) == 2


def test_two_sources_of_one_name_are_refused_and_both_are_named(tmp_path):
    a, b = (scan_at(tmp_path / side / "sub-01_T1w.nii.gz") for side in ("left", "right"))
    with pytest.raises(DataError, match=r"right.*left") as error:
        Derivatives(tmp_path / "out", "none").check([a, b])
    assert "both become sub-01_desc-none_T1w.nii.gz" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_methods_lie_side_by_side_and_all_of_them_are_results(tmp_path):
    scan = scan_at(tmp_path / "in" / "sub-01_ses-2_run-1_T1w.nii.gz")
    for method in ("none", "n4_histogram_matching"):
        output = Derivatives(tmp_path / "out", method)
        output.check([scan])
        done(output, scan)
    found = list(output.results())
    assert [each.about["Method"] for each in found] == ["n4_histogram_matching", "none"]
    assert found[0].name == "sub-01_ses-2_run-1_desc-n4histogrammatching_T1w"
    assert found[0].figure == output.figure(scan)
    output.sidecar(scan).write_text("{")  # damaged: no result
    output.mask(scan).with_suffix("").with_suffix(".json").write_text("{}")  # of a mask
    Derivatives(tmp_path / "out", "none").image(scan).unlink()
    assert not list(output.results())


def test_no_two_methods_have_one_label():
    labels = [label(method) for method in choices("method")]
    assert len(set(labels)) == len(labels)
    assert all(each.isascii() and each.isalnum() for each in labels)


def test_a_result_of_another_image_is_not_replaced(tmp_path):
    output = Derivatives(tmp_path / "out", "none")
    scan = scan_at(tmp_path / "a" / "sub-01_T1w.nii.gz")
    done(output, scan)
    other = scan_at(tmp_path / "b" / "sub-01_T1w.nii.gz", gain=2)
    with pytest.raises(DataError, match=r"is there already, from another image.*output="):
        output.check([other])
    moved = scan_at(tmp_path / "c" / "sub-01_T1w.nii.gz")
    moved.path.write_bytes(scan.path.read_bytes())
    output.check([moved])


@pytest.mark.parametrize("which", ["image", "sidecar"])
def test_a_damaged_result_is_not_done(which, tmp_path):
    output = Derivatives(tmp_path / "out", "none")
    scan = scan_at(tmp_path / "a" / "sub-01_T1w.nii.gz")
    done(output, scan)
    assert output.provenance(scan)["Method"] == "none"
    path = {"image": output.image(scan), "sidecar": output.sidecar(scan)}[which]
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"none") if which == "sidecar" else len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert output.provenance(scan) is None


def test_a_process_that_dies_behind_the_image_leaves_no_sidecar_of_the_former_one(tmp_path, monkeypatch):
    output = Derivatives(tmp_path / "out", "none")
    scan = scan_at(tmp_path / "a" / "sub-01_T1w.nii.gz")
    done(output, scan)

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "write_sealed", dies)
    with pytest.raises(KeyboardInterrupt):
        done(output, scan)
    assert output.image(scan).exists()
    assert not output.sidecar(scan).exists()
    assert not list(output.results())


def test_a_result_of_an_older_version_has_no_digest_and_is_done(tmp_path):
    output = Derivatives(tmp_path / "out", "none")
    scan = scan_at(tmp_path / "a" / "sub-01_T1w.nii.gz")
    done(output, scan)
    output.sidecar(scan).write_text(json.dumps({"Method": "none"}))
    assert output.provenance(scan) == {"Method": "none"}


def test_files_are_named_below_their_data_set(tmp_path):
    assert relative_name(tmp_path / "sub-1" / "x.nii", tmp_path) == "sub-1/x.nii"
    assert relative_name(tmp_path / "x.nii", tmp_path / "x.nii") == "x.nii"
    assert relative_name(Path("/home/jane/masks/m.nii"), tmp_path) == "m.nii"
