"""Every problem of a data set at once, each at the right scan and of the right weight."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from phantoms import AFFINE, phantom, preprocess, save, scan_of
from scipy import stats

from harmony.core import DataError, Scan
from harmony.data import BidsFolder, Preprocess, SliceDataModule
from harmony.data.inspection import Inspection, Problem, as_json, inspect, summary
from harmony.data.inspection.confounding import confounded, correlation_ratio, cramers_v
from harmony.data.volumes import plausible


@pytest.fixture(autouse=True)
def miniature_brains(monkeypatch):
    """The phantom's 66 ml are a brain here."""
    monkeypatch.setattr(plausible, "BRAIN_ML", (50.0, 2200.0))


class Listed:
    def __init__(self, scans: list[Scan]) -> None:
        self.listed = scans

    def scans(self) -> list[Scan]:
        return self.listed


def inspected(source, prepare: Preprocess | None = None, **shares) -> Inspection:
    dealt = shares or {"train": 1.0}
    settings = {"shares": dealt, "split_seed": 0, "count": 4, "step": 1, "batch_size": 1, "seed": 0}
    return inspect(SliceDataModule(source, prepare or preprocess(), "no cache", **settings))


def people(folder: Path, count: int) -> list[Scan]:
    return [scan_of(folder, f"sub-{k}", age=30.0 + k, gain=1 + k) for k in range(count)]


def test_a_good_data_set_has_no_problem_and_a_full_summary(tmp_path):
    scans = [replace(s, site="X", scanner="Trio", sex="F") for s in people(tmp_path, 5)]
    scans.append(replace(scan_of(tmp_path, "sub-0b", gain=9), subject="sub-0", session="ses-2", site="Y"))
    found = inspected(Listed(scans), train=0.6, val=0.2, test=0.2)
    assert found.problems == []
    facts = summary(found)
    assert (facts["scans"], facts["readable"], facts["subjects"], facts["sessions"]) == (6, 6, 5, 6)
    assert (facts["sites"], facts["sex"]) == ({"X": 5, "Y": 1}, {"F": 5, "unknown": 1})
    assert facts["age"] == {"low": 30.0, "high": 50.0}
    assert (facts["voxel mm"], facts["shape"], facts["orientation"]) == (
        {"2 x 2 x 2": 6}, {"30 x 36 x 28": 6}, {"RAS": 6}
    )  # fmt: skip
    assert facts["dtype"] == {"float32": 6}
    assert facts["intensity"] == {"low": 0.0, "high": 9 * phantom()[0].max()}
    assert facts["brain ml"]["low"] == pytest.approx((phantom()[0] > 0).sum() * 8 / 1000)
    assert (facts["with mask"], facts["with labels"]) == (0, 6)
    assert sum(part["scans"] for part in facts["parts"].values()) == 6
    assert sum(part["subjects"] for part in facts["parts"].values()) == 5
    record = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert record["ok"]
    assert record["scans"][0] | {"shape": [30, 36, 28], "name": "sub-0"} == record["scans"][0]


def test_one_image_under_two_subjects_is_found_in_another_packing(tmp_path):
    scans = people(tmp_path, 3)
    copy = save(tmp_path / "copy.nii", phantom()[0] * 3, dtype=np.float64)
    other = Scan(copy, "sub-9", age=40.0)
    found = inspected(Listed([*scans, other]), train=0.5, val=0.25, test=0.25)
    assert [(p.subject, p.path) for p in found.errors] == [("sub-9", copy)]
    assert "the same image as sub-2" in found.errors[0].problem
    part = {s.subject: name for name, group in found.parts.items() for s in group}
    assert ("leak" in found.errors[0].problem) == (part["sub-2"] != part["sub-9"])
    again = replace(other, subject="sub-2", session="ses-2")
    found = inspected(Listed([*scans, again]))
    assert not found.errors
    assert "the same image" in found.warnings[0].problem


def test_leaks_and_names_given_twice(tmp_path):
    scans = [replace(s, split="train") for s in people(tmp_path, 3)]
    leaked = replace(scan_of(tmp_path, "sub-x", gain=7), subject="sub-0", session="ses-2", split="test")
    second = replace(scan_of(tmp_path, "sub-y", gain=8), subject="sub-1", session="ses-2", split="test")
    found = inspected(Listed([*scans, leaked, second]), train=0.5, test=0.5)
    assert [(p.subject, p.problem) for p in found.errors] == [
        (subject, "split leak: one subject in test and in train") for subject in ("sub-0", "sub-1")
    ]
    twice = replace(scan_of(tmp_path, "sub-z", gain=9), subject="sub-2", split="train")
    found = inspected(Listed([*scans, twice]))
    assert [p.path for p in found.errors] == [twice.path]
    assert "more than one scan of sub-2" in found.errors[0].problem
    few = inspected(Listed([replace(s, split=None) for s in scans[:1]]), train=0.5, test=0.5)
    assert "no subject for the part" in few.errors[0].problem


def test_ages_are_warnings(tmp_path):
    scans = people(tmp_path, 3)
    found = inspected(Listed([replace(scans[0], age=None), replace(scans[1], age=-1.0), replace(scans[2], age=500.0)]))
    assert not found.errors
    assert [(p.subject, p.problem) for p in found.warnings] == [
        ("sub-0", "no age"), ("sub-1", "an age of -1"), ("sub-2", "an age of 500")
    ]  # fmt: skip
    none = inspected(Listed([replace(scan, age=None) for scan in scans]))
    assert [(p.subject, p.problem) for p in none.warnings] == [(None, "no scan has an age")]


def test_a_head_is_probably_not_a_brain(tmp_path):
    big = AFFINE @ np.diag([3.5, 3.5, 3.5, 1])
    scan = Scan(save(tmp_path / "head.nii.gz", phantom()[0], big), "sub-1", age=3.0)
    found = inspected(Listed([scan]), preprocess(spacing=7.0))
    assert not found.errors
    assert "skull is probably still on" in found.warnings[0].problem
    assert found.looks[0].brain_ml > 2200
    assert found.looks[0].voxel_mm == (7.0, 7.0, 7.0)


def test_one_scan_can_have_several_problems(tmp_path):
    scan = scan_of(tmp_path)
    save(scan.labels, phantom()[1][1:])
    empty = save(tmp_path / "mask.nii.gz", 0 * phantom()[1], dtype=np.uint8)
    found = inspected(Listed([replace(scan, mask=empty)]))
    assert [p.path.name for p in found.errors] == ["sub-01_dseg.nii.gz", "sub-01_T1w.nii.gz"]
    assert "labels on another grid" in found.errors[0].problem
    assert "empty" in found.errors[1].problem
    coded = scan_of(tmp_path)
    save(coded.labels, phantom()[1] * 77, dtype=np.int16)
    found = inspected(
        Listed([coded]), Preprocess(spacing=2.0, axis="axial", size=(16, 16), percentile=99.5, label_map="freesurfer")
    )
    assert len(found.errors) == 2
    assert [p.path for p in found.errors] == [coded.labels, coded.path]


def test_no_stated_orientation_is_a_warning(tmp_path):
    image = nibabel.Nifti1Image(phantom()[0].astype(np.float32), None)
    image.header.set_zooms((2, 2, 2))
    nibabel.save(image, tmp_path / "scan.nii.gz")
    found = inspected(Listed([Scan(tmp_path / "scan.nii.gz", "sub-1", age=3.0)]))
    assert not found.errors
    assert "no orientation" in found.warnings[0].problem


def test_a_source_that_cannot_list_is_a_problem_and_the_files_are_read_all_the_same(tmp_path):
    for root in (None, tmp_path / "none", tmp_path):
        found = inspected(BidsFolder(root))
        assert len(found.errors) == 1
        assert "data.root=" in found.errors[0].cure
    for name in ("sub-1_T1w.nii", "sub-1_T1w.nii.gz", "sub-2_T1w.nii.gz", "sub-3_T1w.nii.gz"):
        save(tmp_path / name[:5] / "anat" / name, phantom()[0] * (len(name) + 7 * int(name[4])))
    (tmp_path / "sub-3" / "anat" / "sub-3_T1w.nii.gz").write_bytes(b"broken")
    found = inspected(BidsFolder(tmp_path))
    assert ["is there twice" in found.errors[0].problem, found.errors[1].subject] == [True, "sub-3"]
    assert len(found.errors) == 2
    assert len(found.looks) == 3


def cohort(site: str, ages, sexes) -> list[Scan]:
    pairs = enumerate(zip(ages, sexes, strict=True))
    return [Scan(Path("x"), f"{site}{k}", site=site, age=age, sex=sex) for k, (age, sex) in pairs]


def test_sites_that_differ_in_age_or_sex():
    random = np.random.default_rng(0)
    young, old = random.normal(30, 5, 20), random.normal(60, 5, 20)
    half, women = ["F", "M"] * 10, ["F"] * 20
    assert list(confounded([*cohort("A", young, half), *cohort("B", young + 0.1, half)])) == []
    (age,) = confounded([*cohort("A", young, half), *cohort("B", old, half)])
    assert f"age follows the site (mean years: A {young.mean():.0f}, B {old.mean():.0f}; eta^2 0.9" in age
    (sex,) = confounded([*cohort("A", young, half), *cohort("B", young, women)])
    assert "sex follows the site (women: A 50%, B 100%" in sex
    assert len(list(confounded([*cohort("A", young, half), *cohort("B", old, women)]))) == 2
    assert list(confounded([*cohort("A", young, half), *cohort("B", old[:4], women[:4])])) == []
    visits = [replace(s, session=f"ses-{k}") for k in range(9) for s in cohort("B", old[:4], women[:4])]
    assert list(confounded([*cohort("A", young, half), *visits])) == []
    unknown = [replace(s, age=None, sex=None) for s in cohort("B", old, women)]
    assert list(confounded([*cohort("A", young, half), *unknown])) == []
    by_scanner = [replace(s, site=None, scanner=s.site) for s in [*cohort("A", young, half), *cohort("B", old, half)]]
    assert len(list(confounded(by_scanner))) == 1


def test_the_statistics_are_scipys():
    groups = [np.array([1.0, 2, 4, 3, 7]), np.array([3.0, 9, 5, 6, 8, 2]), np.array([5.0, 6, 7, 8, 20])]
    eta2, p = correlation_ratio(groups)
    assert p == pytest.approx(stats.f_oneway(*groups).pvalue)
    values, means = np.concatenate(groups), np.concatenate([np.full(len(g), g.mean()) for g in groups])
    assert eta2 == pytest.approx(means.var() / values.var())
    assert correlation_ratio([np.ones(5), np.ones(5)]) == (0.0, 1.0)
    assert correlation_ratio([np.ones(5), np.zeros(5)]) == (1.0, 0.0)
    table = np.array([[12, 3], [4, 9], [7, 7]])
    assert cramers_v(table)[0] == pytest.approx(stats.contingency.association(table, "cramer"))
    assert cramers_v(np.array([[5, 0], [9, 0]])) == (0.0, 1.0)


def test_a_problem_reads_like_the_error_it_was():
    error = DataError("it is broken", cure="mend it", path="a/b.nii", subject="s")
    assert str(Problem.of(error)) == str(error)
