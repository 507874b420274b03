"""Rows on the disk, and people counted in place of scans."""

import gzip
import math

import pytest

from harmony.core import DamagedError, Row, by_subject, of_subjects, read_rows, write_rows


def test_rows_survive_the_disk_with_subject_and_scan(tmp_path):
    rows = [Row("none", "exp", "sub-1", "psnr", 23.7, "sub-1_ses-A"), Row("a,b", "x", 'sub "2"', "seconds", 1e-9)]
    write_rows(tmp_path / "results.csv", rows)
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert lines[:2] == ["method,domain,subject,scan,metric,value", "none,exp,sub-1,sub-1_ses-A,psnr,23.7"]
    assert read_rows(tmp_path / "results.csv") == rows
    assert rows[1].scan == 'sub "2"'  # one scan only


def test_a_file_of_five_columns_is_read_with_the_scan_as_subject(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("method,domain,subject,metric,value\nnone,exp,sub-1_ses-A,psnr,20\n")
    assert read_rows(path) == [Row("none", "exp", "sub-1_ses-A", "psnr", 20.0, "sub-1_ses-A")]


def test_a_packed_table_is_read_in_place_of_the_plain_one_and_damage_is_noticed(tmp_path):
    rows = [Row("none", "exp", f"sub-{k}", "psnr", 20.0 + k) for k in range(50)]
    write_rows(tmp_path / "plain.csv", rows)
    packed = tmp_path / "results.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "plain.csv").read_bytes(), mtime=0))
    assert read_rows(tmp_path / "results.csv") == read_rows(packed) == rows
    whole = packed.read_bytes()
    for damaged in (whole[:-20], whole[: len(whole) // 2], b"no gzip at all", whole[:60] + b"\xff" + whole[61:]):
        packed.write_bytes(damaged)
        with pytest.raises(DamagedError, match=r"results\.csv\.gz"):
            read_rows(tmp_path / "results.csv")


def test_scans_are_averaged_before_people_are_counted():
    rows = [Row("none", "exp", "a", "psnr", value, f"a_{value}") for value in (10.0, 20.0, math.nan)]
    rows += [Row("none", "exp", "b", "psnr", 30.0), Row("none", "exp", "c", "psnr", math.nan)]
    found = by_subject(rows)["none", "exp", "psnr"]
    assert (found["a"], found["b"]) == (15, 30)
    assert math.isnan(found["c"])
    assert list(by_subject(rows)) == [("none", "exp", "psnr")]


def test_so_many_subjects_with_all_their_scans():
    scans = ["a1", "b1", "a2", "c1", "b2"]
    assert of_subjects(scans, 2, lambda scan: scan[0]) == ["a1", "b1", "a2", "b2"]
    assert of_subjects(scans, None, lambda scan: scan[0]) == scans
    assert of_subjects(scans, 0, lambda scan: scan[0]) == []
    assert of_subjects(scans, 9, lambda scan: scan[0]) == scans
