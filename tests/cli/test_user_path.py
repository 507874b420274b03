"""The README's path with the console command, in the order a new user would take it, mistakes included."""

import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from door import PREPROCESS, brain, command, save_scan, sidecar, start

from harmony.cli.commands import COMMANDS

REAL = Path(os.environ.get("HARMONY_REAL_DATA", Path(__file__).parents[2] / "../shared/data")) / "real"
SMALL = [
    f"data.preprocess.{key}={json.dumps(value)}" for key, value in PREPROCESS.items() if key in ("spacing", "size")
]
SMALL = [word.replace(" ", "") for word in SMALL]


def results(folder):
    return sorted(path.name for path in folder.glob("sub-*/**/*_desc-*_T1w.nii.gz"))


@pytest.fixture(scope="session")
def packed(flow, tmp_path_factory):
    """The model as it is passed on: one file."""
    folder = tmp_path_factory.mktemp("packed")
    code, out, err = command("models", "pack", flow, "über scanner.harmony", "--licence", "CC0", cwd=folder)
    assert code == 0, err
    assert "licence: CC0" in out
    return folder / "über scanner.harmony"


def test_check_reads_a_folder_as_people_type_it(bids, tmp_path):
    few = "data.shares={train:0.34,val:0.33,test:0.33}"  # three subjects
    code, out, err = command("check", bids, "--json", few, *SMALL, cwd=tmp_path)
    assert code == 0, out + err
    assert json.loads(out)["summary"]["scans"] == 4
    (tmp_path / "empty").mkdir()
    code, out, err = command("check", "empty", cwd=tmp_path)
    assert code == 1
    assert "no sub-*" in out


def test_a_scan_a_second_run_and_a_folder(packed, bids, tmp_path):
    scan = save_scan(tmp_path / "Müller, Köln [1]" / "scan {2}.nii.gz")
    words = ["harmonize", scan, "out, put", "--model", packed, "--method", "histogram_matching"]
    code, out, err = command(*words, cwd=tmp_path)
    assert code == 0, err
    assert "1 scans harmonized, 0 were done" in out
    (name,) = results(tmp_path / "out, put")
    assert name == "sub-scan2_desc-histogrammatching_T1w.nii.gz"
    about = sidecar(next((tmp_path / "out, put").glob("sub-*/anat/*.json")))
    assert (about["Method"], about["Model"]) == ("histogram_matching", "über-scanner")
    code, out, _ = command(*words, cwd=tmp_path)
    assert "0 scans harmonized, 1 were done" in out
    code, _, err = command(*words[:-1], "ssimh", "method.cutoff=4.0", cwd=tmp_path)
    assert code == 0, err
    about = sidecar(next((tmp_path / "out, put").glob("sub-*/anat/*_desc-ssimh_T1w.json")))
    assert about["MethodSettings"]["cutoff"] == 4.0
    code, out, _ = command(*words[:-1], "none", cwd=tmp_path)  # beside the other's result, on one page
    assert "1 scans harmonized" in out
    page = (tmp_path / "out, put" / "quality.html").read_text()
    assert all(f'id="sub-scan2_desc-{label}_T1w"' in page for label in ("none", "histogrammatching"))

    words = ["bids", bids, "der", "participant", "--participant-label", "03", "--session-label", "B", "--model", packed]
    code, out, err = command(*words, "--method", "none", cwd=tmp_path)
    assert code == 0, err
    assert results(tmp_path / "der") == ["sub-03_ses-B_desc-none_T1w.nii.gz"]
    code, _, err = command(*words[:5], "07", *words[-2:], cwd=tmp_path)
    assert code == 2
    assert "no scan of sub-07; there are sub-01, sub-02, sub-03" in err


def test_the_model_of_the_package_is_used_when_none_is_given(tmp_path):
    save_scan(tmp_path / "scan.nii.gz")
    for method in ("histogram_matching", "scanner_inversion"):
        code, _, err = command("harmonize", "scan.nii.gz", "out", "--method", method, cwd=tmp_path)
        assert code == 0, err
        about = sidecar(next((tmp_path / "out").glob(f"sub-*/anat/*_desc-{method.replace('_', '')}_T1w.json")))
        assert about["Model"] == "ixi-hh"
    assert "decision" in about["Scanner"]
    assert "<dt>decision</dt>" in (tmp_path / "out" / "quality.html").read_text()
    own = next((tmp_path / "out").glob("sub-*/anat/*_desc-scannerinversion_T1w.nii.gz"))  # is a scan, too
    assert command("harmonize", own, "again", "--method", "none", cwd=tmp_path)[0] == 0


@pytest.mark.parametrize("example", COMMANDS["harmonize"].examples)
def test_every_example_of_the_help_works_as_it_is_printed(example, tmp_path):
    """With the installed model, nothing else said."""
    for k, name in enumerate(("scan.nii.gz", "a.nii.gz", "b.nii.gz", "bids/sub-1/anat/sub-1_T1w.nii.gz")):
        save_scan(tmp_path / name, k)
    head = nibabel.load(save_scan(tmp_path / "head.nii.gz", scale=1.45))
    inside = (brain(0) > 0).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(inside, head.affine), tmp_path / "brain_mask.nii.gz")
    program, *words = shlex.split(example)
    assert program == "harmony"
    code, out, err = command(*words, cwd=tmp_path)
    assert code == 0, err
    assert "1 scans harmonized" in out or "2 scans harmonized" in out
    if "harmonized.nii.gz" in words:
        assert (tmp_path / "harmonized.nii.gz").is_file()


def test_what_could_swallow_a_mistake_is_refused(tmp_path):
    """No number of processes but one is silent; a cache that cannot be written to stops nobody, and is named."""
    save_scan(tmp_path / "scan.nii.gz")
    words = ["harmonize", "scan.nii.gz", "out", "--skip-bad", "--method", "none"]
    for number in ("0", "-1", "1.5"):
        code, _, err = command(*words, "--workers", number, cwd=tmp_path)
        assert code == 2
        assert "workers=" in err
    code, _, err = command(*words, "--original-scale", "5", cwd=tmp_path)
    assert (code, err.count("\n"), (tmp_path / "out").exists()) == (2, 1, False)  # neither yes nor no: a file, then
    (tmp_path / "a file").touch()
    code, out, err = command(*words, cwd=tmp_path, HARMONY_CACHE=str(tmp_path / "a file"))
    assert code == 0, err
    assert "HARMONY_CACHE= names another folder" in out + err


def test_mistakes_are_one_line_and_exit_code_2(packed, flow, bids, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "not a model.harmony").write_text("hello")
    save_scan(tmp_path / "head_T1w.nii.gz", scale=1.45)
    save_scan(tmp_path / "sub-1_T2w.nii.gz")
    one = [bids / "sub-01" / "anat" / "sub-01_T1w.nii.gz", "out", "--model", packed, "method=none"]
    for words, said in [
        (["empty", *one[1:]], "no sub-*/[ses-*/]anat/*_T1w.nii[.gz]"),
        ([*one[:3], "not a model.harmony"], "not a packed model"),
        ([*one[:3], "ixihh"], "did you mean ixi-hh?"),
        (["head_T1w.nii.gz", *one[1:], "--mask", "null"], "mask=auto"),
        (["sub-1_T2w.nii.gz", *one[1:]], "a T2w image, and the model knows T1w"),
        ([*one, "--mask", "synthstrip", "seed=2"], "install FreeSurfer's mri_synthstrip"),
        ([*one, "workers=0.5"], "workers"),
        ([*one, "~nothing"], "nothing"),
    ]:
        code, _, err = command("harmonize", *words, cwd=tmp_path, PATH="/usr/bin:/bin")
        assert code == 2, (words, err)
        assert said in err
        assert err.splitlines()[-1].startswith("error: ")
        assert not results(tmp_path / "out")


def test_stopped_and_started_again(packed, bids, tmp_path):
    words = ["harmonize", bids, "out", "--model", packed, "method.solver.iterations=8", "--method", "blindharmony"]
    process = start(*words, cwd=tmp_path)
    for line in process.stdout:
        if "changed by" in line:
            process.send_signal(signal.SIGTERM)
            break
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "start the same command again" in err
    made = len(results(tmp_path / "out"))
    assert 1 <= made < 4
    code, out, err = command(*words, cwd=tmp_path)
    assert code == 0, err
    assert f"{4 - made} scans harmonized, {made} were done" in out
    assert len(results(tmp_path / "out")) == 4


def test_several_workers_make_the_same_files_as_one(packed, bids, tmp_path):
    for folder, workers in (("one", 1), ("two", 2)):
        words = ["harmonize", bids, folder, "--model", packed, "method=histogram_matching", f"workers={workers}"]
        code, out, err = command(*words, cwd=tmp_path)
        assert code == 0, err
        assert out.count("changed by") == 4  # each scan once
        assert out.count("quality page") == 1
    assert results(tmp_path / "one") == results(tmp_path / "two")
    for a, b in zip(*(sorted((tmp_path / name).glob("sub-*/**/*.nii.gz")) for name in ("one", "two")), strict=True):
        np.testing.assert_array_equal(np.asarray(nibabel.load(a).dataobj), np.asarray(nibabel.load(b).dataobj))


def synthstrip(folder):
    """A stand-in for the program."""
    program = folder / "bin" / "mri_synthstrip"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys, nibabel, numpy as np\nimage = nibabel.load(sys.argv[2])\n"
        "brain = (np.asarray(image.dataobj) > 180).astype(np.uint8)\n"
        "nibabel.save(nibabel.Nifti1Image(brain, image.affine), sys.argv[4])\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_a_whole_head_with_a_brain_finder(packed, tmp_path):
    """A stand-in for SynthStrip: the brain is where the head is brightest."""
    head = save_scan(tmp_path / "sub-9_T1w.nii.gz", scale=1.45)
    path = f"{synthstrip(tmp_path).parent}:{os.environ['PATH']}"
    words = ["harmonize", head, "out", "--model", packed, "--mask", "synthstrip", "method=histogram_matching"]
    code, out, err = command(*words, cwd=tmp_path, PATH=path)
    assert code == 0, err
    folder = tmp_path / "out" / "sub-9" / "anat"
    assert sidecar(folder / "sub-9_desc-histogrammatching_T1w.json")["BrainExtraction"]["Tool"] == "mri_synthstrip"
    mask = np.asarray(nibabel.load(folder / "sub-9_desc-brain_mask.nii.gz").dataobj) > 0
    before, after = (
        np.asarray(nibabel.load(p).dataobj) for p in (head, folder / "sub-9_desc-histogrammatching_T1w.nii.gz")
    )
    np.testing.assert_array_equal(before[~mask], after[~mask])
    assert not np.array_equal(before[mask], after[mask])
    code, out, err = command(*words, cwd=tmp_path, PATH=path)
    assert "1 were done" in out, err


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="real scans not found: set HARMONY_REAL_DATA")
def test_a_real_head_needs_nothing_but_its_file(tmp_path):
    head = REAL / "sub-xa30" / "anat" / "sub-xa30_acq-raw_T1w.nii.gz"
    code, out, err = command("harmonize", head, "out", cwd=tmp_path)
    assert code == 0, err
    assert "brain found by deepbet 1.0.2" in out
    folder = tmp_path / "out" / "sub-xa30" / "anat"
    about = sidecar(folder / "sub-xa30_acq-raw_desc-scannerinversion_T1w.json")
    assert about["BrainExtraction"] == {"Tool": "deepbet", "Version": "1.0.2"}
    assert (folder / "sub-xa30_acq-raw_desc-brain_mask.nii.gz").exists()


def test_models_are_listed_and_packed_with_what_a_method_needs(flow, tmp_path):
    where = {"HARMONY_RUNS": str(flow.parents[1])}
    code, out, _ = command("models", "--json", cwd=tmp_path, **where)
    installed, found = json.loads(out)
    assert (installed["name"], installed["licence"]) == ("ixi-hh", "CC BY-SA 3.0")
    assert (found["name"], found["contrast"], found["voxel"]) == ("flow-1a2b3c4d", "T1w", "4 mm, axial slices")
    code, _, err = command("models", "pack", flow, "a.harmony", "--method", "harmonizing_flows", cwd=tmp_path)
    assert code == 2
    assert "no trained harmonizer of the same scans" in err
    stage = f"harmonizer={flow.parent / 'segmenter-5e6f7a8b'}"
    code, out, err = command(
        "models", "pack", flow, "a.harmony", "--method", "harmonizing_flows", "--stage", stage, cwd=tmp_path
    )
    assert code == 2
    assert "not the run folder of a trained harmonizer" in err
    assert not (tmp_path / "a.harmony").exists()
    code, _, err = command("models", "pak", cwd=tmp_path)
    assert code == 2
    assert "mean pack?" in err


def test_the_experiment_commands_take_a_name(tmp_path):
    code, out, err = command("train", "quickstart", "--seed", "3", "--cfg", "job", cwd=tmp_path)
    assert code == 0, err
    assert "seed: 3" in out
    code, _, err = command("train", "quickstart", "~nothing", "--cfg", "job", cwd=tmp_path)  # Hydra's own words
    assert code == 2
    assert err.startswith("error: ")
    code, _, err = command("report", "nowhere", cwd=tmp_path)
    assert code == 2


VALIDATOR = shutil.which("bids-validator-deno") or shutil.which("bids-validator")


@pytest.mark.skipif(VALIDATOR is None, reason="no BIDS validator: pip install bids-validator-deno")
def test_the_output_is_valid_bids(packed, bids, tmp_path):
    """Two runs, acquisitions, two methods, masks that were made, what is no BIDS of its own."""
    for name in ("sub-01_run-1_T1w", "sub-01_run-2_T1w", "sub-01_acq-mprage_run-1_T1w"):
        save_scan(bids / "sub-01" / "anat" / f"{name}.nii.gz", len(name))
    (bids / "sub-01" / "anat" / "sub-01_T1w.nii.gz").unlink()
    path = f"{synthstrip(tmp_path).parent}:{os.environ['PATH']}"
    for method in ("none", "histogram_matching"):
        words = ["harmonize", bids, "out", "--model", packed, "--method", method, "--mask", "synthstrip"]
        code, _, err = command(*words, cwd=tmp_path, PATH=path)
        assert code == 0, err
    assert len(results(tmp_path / "out")) == 2 * 6
    done = subprocess.run([VALIDATOR, str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[ERROR]" not in done.stdout
