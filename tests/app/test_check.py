"""`python -m harmony.check` as a user meets it: one run names everything, and its exit code can be trusted."""

import json
import os
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from programs import Program

from harmony import check
from harmony.core import interrupts
from harmony.data.inspection import Problem

SMALL = ["data=bids", "data.preprocess.size=[32,32]", "data.preprocess.spacing=4.0"]


def run(*words):
    done = Program("harmony.check", [*SMALL, *words], cwd=Path.cwd(), env=os.environ, merged=False).finish()
    assert "Traceback" not in done.stderr
    return done


def brain(seed):
    """An ellipsoid of noise on an empty background, 4 mm."""
    place = np.indices((32, 32, 30)) - np.reshape([15.5, 15.5, 14.5], (3, 1, 1, 1))
    inside = np.sqrt((place**2).sum(0)) < 13
    return np.where(inside, np.random.default_rng(seed).integers(50, 200, inside.shape), 0).astype(np.int16)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "data set"
    for k in range(10):
        path = folder / f"sub-{k}" / "anat" / f"sub-{k}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(brain(k), np.diag([4.0, 4, 4, 1])), path)
    rows = [f"sub-{k}\t{40 + k}\tF\tA\tTrio" for k in range(10)]
    (folder / "participants.tsv").write_text("\n".join(["participant_id\tage\tsex\tsite\tscanner", *rows]))
    return folder


def t1(root, k):
    return root / f"sub-{k}" / "anat" / f"sub-{k}_T1w.nii.gz"


def spoil(root):
    """Subject -> a word of what is wrong with it."""
    t1(root, 1).write_bytes(b"no image")
    t1(root, 2).write_bytes(t1(root, 2).read_bytes()[:-500])
    nibabel.save(nibabel.Nifti1Image(brain(3) + np.int16(9), np.diag([4.0, 4, 4, 1])), t1(root, 3))
    t1(root, 4).write_bytes(t1(root, 5).read_bytes())
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 9), np.uint8), np.eye(4)), t1(root, 6))
    words = {1: "not a NIfTI", 2: "truncated", 3: "skull", 5: "the same image as sub-4", 6: "one value everywhere"}
    return {f"sub-{k}": text for k, text in words.items()}


def test_a_good_folder_is_a_table_and_exit_code_0(root):
    before = sorted(root.parent.rglob("*"))
    done = run(f"data.root='{root}'")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 errors, 0 warnings in 10 scans: ready" in done.stdout
    for words in ("32 x 32 x 30 (10)", "4 x 4 x 4 (10)", "RAS (10)", "int16 (10)", "40 to 49", "F (10)", "Trio (10)"):
        assert words in done.stdout
    assert "train: 7 subjects, 7 scans; val: 1 subjects, 1 scans; test: 2 subjects, 2 scans" in done.stdout
    assert done.stderr == "checking scans: 10\n"
    assert sorted(root.parent.rglob("*")) == before


def test_every_broken_file_is_named_in_one_run_and_exit_code_1(root):
    expected = spoil(root)
    done = run(f"data.root='{root}'")
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert len(lines) == len(expected)
    for subject, words in expected.items():
        (line,) = [line for line in lines if line.startswith(f"error: [{subject}] ")]
        assert words in line
        assert f"{subject}_T1w.nii.gz" in line
        assert " -> " in line
    assert "5 errors, 0 warnings in 10 scans" in done.stdout


def test_json_is_one_object_and_nothing_else(root):
    expected = spoil(root)
    done = run(f"data.root='{root}'", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert not found["ok"]
    assert {error["subject"]: error["file"] for error in found["errors"]} == {
        subject: str(t1(root, subject[4:])) for subject in expected
    }
    assert all(expected[error["subject"]] in error["problem"] and error["cure"] for error in found["errors"])
    assert found["summary"]["readable"] == len(found["scans"]) == 7


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 1, "data.root="),
        (["data.root=nowhere"], 1, "no such folder"),
        (["data.rot=x"], 2, "data.rot"),
        (["data.preprocess.size=[30,30]"], 2, "divisible"),
        (["--jsn"], 2, "jsn"),
    ],
)
def test_mistakes(words, code, text, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["harmony.check", *SMALL, *words])
    monkeypatch.setattr(interrupts, "watch", lambda: None)  # pytest keeps its signals
    with pytest.raises(SystemExit) as stop:
        check.main()
    assert stop.value.code == code
    assert text in "".join(capsys.readouterr())


def test_many_alike_are_counted_not_repeated():
    many = [Problem("no age", "add it", Path(f"{k}.nii"), f"sub-{k}", error=False) for k in range(50)]
    assert len(check.lines(many)) == check.SHOWN + 1
    assert check.lines(many)[-1] == f"... and {50 - check.SHOWN} more scans: no age"
    assert check.lines(many[:3]) == [str(problem) for problem in many[:3]]
    assert check.cell({str(k): 1 for k in range(20)}).endswith("14 more")
    assert (check.cell({}), check.cell(None), check.cell({"low": 0.0, "high": 4095.25})) == ("-", "-", "0 to 4095")


@pytest.mark.real
@pytest.mark.parametrize("folder", ["ixi-hh", "open-ms"])
def test_real_scans_are_ready(folder, tmp_path):
    data = Path(os.environ.get("HARMONY_REAL_DATA", Path(__file__).parents[2] / "../shared/data")) / folder
    if not data.is_dir():
        pytest.skip("real scans not found: set HARMONY_REAL_DATA to the folder with ixi-hh and open-ms")
    chosen = sorted(data.glob("sub-*"))[:12]
    for source in [*chosen, data / "participants.tsv", data / "derivatives"]:
        (tmp_path / source.name).symlink_to(source.resolve())
    shares = "data.shares={train: 0.4, val: 0.3, test: 0.3}"
    done = run(f"data.root='{tmp_path}'", "data.preprocess.size=[96,112]", "data.preprocess.spacing=2.0", shares)
    assert done.returncode == 0, done.stdout
    assert f"0 errors, 0 warnings in {len(chosen)} scans: ready" in done.stdout
