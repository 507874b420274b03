from __future__ import annotations

import re

import pytest
from empty_files import touch

from harmony.core import DataError
from harmony.data import BidsFolder


@pytest.fixture
def root(tmp_path):
    touch(
        tmp_path,
        "sub-A1/anat/sub-A1_T1w.nii.gz",
        "sub-A1/anat/sub-A1_T2w.nii.gz",
        "sub-B2/ses-1/anat/sub-B2_ses-1_acq-mprage_run-1_T1w.nii",
        "sub-B2/ses-2/anat/sub-B2_ses-2_T1w.nii.gz",
        "sub-B2/ses-2/anat/sub-B2_ses-2_T1w.json",
        "sub-C3/anat/sub-C3_T1w.nii.gz",
        "derivatives/other/sub-A1/anat/sub-A1_T1w.nii.gz",
        "derivatives/seg/sub-A1/anat/sub-A1_dseg.nii.gz",
        "derivatives/seg/sub-B2/anat/sub-B2_ses-1_dseg.nii.gz",
        "derivatives/seg/sub-B2/anat/sub-B2_ses-2_dseg.nii.gz",
    )
    rows = [
        "participant_id\tAge\tsex\tsite\tscanner",
        "A1\t61.5\tfemale\tX\tn/a",
        "sub-B2\tn/a\tM\t\tTrio",
        "sub-Z9\t3\tF\tX\tY",
    ]
    (tmp_path / "participants.tsv").write_text("\ufeff" + "\n".join(rows) + "\n")
    return tmp_path


def test_finds_scans_with_and_without_sessions(root):
    scans = BidsFolder(root, labels="derivatives/seg/{subject}/anat/{subject}_*{session}*dseg.nii.gz").scans()
    assert [scan.name for scan in scans] == ["sub-A1", "sub-B2_ses-1_acq-mprage_run-1", "sub-B2_ses-2", "sub-C3"]
    assert [scan.labels and scan.labels.name for scan in scans] == [
        "sub-A1_dseg.nii.gz",
        "sub-B2_ses-1_dseg.nii.gz",
        "sub-B2_ses-2_dseg.nii.gz",
        None,
    ]
    first, second = scans[:2]
    assert (first.age, first.sex, first.site, first.scanner) == (61.5, "F", "X", None)
    assert (second.age, second.sex, second.site, second.scanner) == (None, "M", None, "Trio")
    assert (scans[3].age, scans[3].sex) == (None, None)


def test_works_without_participants(root):
    (root / "participants.tsv").unlink()
    assert [scan.age for scan in BidsFolder(root).scans()] == [None] * 4


def test_ages_as_tables_write_them(root):
    (root / "participants.tsv").write_text("participant_id\tage\nsub-A1\t89+\n")
    assert BidsFolder(root).scans()[0].age == 89
    for wrong in ("old", "-5", "inf", "nan+"):
        (root / "participants.tsv").write_text(f"participant_id\tage\nsub-A1\t{wrong}\n")
        with pytest.raises(DataError, match=rf"line 2: age '{re.escape(wrong)}' is not a number of at least 0"):
            BidsFolder(root).scans()


def test_people_as_tables_write_them(root):
    (root / "participants.tsv").write_text("participant_id\tsex\nA1\tO\nC3\tMale\n")
    assert [scan.sex for scan in BidsFolder(root).scans()] == [None, None, None, "M"]
    (root / "participants.tsv").write_text("participant_id\tsex\nA1\tW\n")
    with pytest.raises(DataError, match=r"line 2: sex 'W' is not one of"):
        BidsFolder(root).scans()
    (root / "participants.tsv").write_text("participant_id\tage\nA1\t31\nsub-A1\t77\n")
    with pytest.raises(DataError, match=r"line 3: participant_id 'sub-A1' was already on line 2"):
        BidsFolder(root).scans()
    (root / "participants.tsv").write_text("subject\tage\nA1\t31\n")
    with pytest.raises(DataError, match=r"'participant_id' is there 0 times"):
        BidsFolder(root).scans()


def test_a_folder_that_is_not_there_names_the_setting(tmp_path):
    touch(tmp_path, "some/file.txt")
    for root in (None, tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match=r"data.root="):
            BidsFolder(root).scans()


def test_two_runs_are_two_scans_of_one_person_each_with_its_own_mask(root):
    runs = [f"derivatives/m/sub-A1/anat/sub-A1{run}_space-orig_desc-brain_mask.nii.gz" for run in ("", "_run-2")]
    touch(root, "sub-A1/anat/sub-A1_run-2_T1w.nii.gz", *runs)
    labels = "derivatives/m/{subject}/anat/*_mask.nii.gz"
    first, second = BidsFolder(root, labels=labels).scans()[:2]
    assert (first.name, second.name) == ("sub-A1", "sub-A1_run-2")
    assert first.subject == second.subject == "sub-A1"
    assert [str(each.labels.relative_to(root)) for each in (first, second)] == runs


def test_one_image_in_two_files_is_refused(root):
    touch(root, "sub-A1/anat/sub-A1_T1w.nii")
    with pytest.raises(DataError, match=r"T1w image of sub-A1 is there twice.*data.root="):
        BidsFolder(root).scans()


def test_lesions_are_found_by_their_pattern_and_may_be_missing_for_some(root):
    touch(root, "derivatives/lesions/sub-A1/anat/sub-A1_label-lesion_mask.nii.gz")
    scans = BidsFolder(root, lesions="derivatives/lesions/{subject}/anat/*_label-lesion_mask.nii.gz").scans()
    assert [scan.lesions is not None for scan in scans] == [True, False, False, False]
    with pytest.raises(DataError, match=r"no lesion mask matches 'nowhere.*data.lesions="):
        BidsFolder(root, lesions="nowhere/{subject}/*.nii.gz").scans()


def test_names_and_patterns_that_do_not_fit(root):
    with pytest.raises(DataError, match=r"data.labels="):
        BidsFolder(root, labels="nowhere/{subject}/*.nii.gz").scans()
    with pytest.raises(DataError, match=r"2 files match"):
        BidsFolder(root, labels="derivatives/seg/{subject}/anat/*_dseg.nii.gz").scans()
    with pytest.raises(DataError, match=r"no mask matches"):
        BidsFolder(root, mask="derivatives/seg/{subject}/anat/{subject}_dseg.nii.gz").scans()
    touch(root, "sub-C3/anat/sub-D4_T1w.nii.gz")
    with pytest.raises(DataError, match=r"not a BIDS file name"):
        BidsFolder(root).scans()


def table(root, *rows, encoding="utf-8", header="participant_id\tage\tsex"):
    (root / "participants.tsv").write_bytes("\n".join([header, *rows, ""]).encode(encoding))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["sub-A1\t31\tF", "sub-B2\t50\tM", "A1\t77\tF"], r"line 4: participant_id 'sub-A1' was already on line 2"),
        (["sub-A1\t31\tW"], r"line 2: sex 'W' is not one of"),
        (["sub-A1\t-5\tF"], r"age '-5' is not a number of at least 0"),
        (["sub-A1\tinf\tF"], r"age 'inf' is not a number"),
        (["sub-A1\tnan5\tF"], r"age 'nan5' is not a number"),
        (["sub-A1\t31"], r"line 2 has 2 cells, the header has 3"),
        ([f"{k}\t30\tF" for k in range(6)], r"none of 6 rows matches a scan: the first is of sub-0, .* sub-A1"),
    ],
)
def test_a_table_that_contradicts_itself_or_the_folder_is_refused(rows, words, root):
    table(root, *rows)
    with pytest.raises(DataError, match=words) as error:
        BidsFolder(root).scans()
    assert error.value.path == root / "participants.tsv"


def test_other_and_unknown_sexes_are_none(root):
    table(root, "sub-A1\t31\tO", "sub-B2\t31\tn/a", "sub-C3\t31\tother")
    assert [scan.sex for scan in BidsFolder(root).scans()] == [None] * 4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-16-le"])
def test_tables_as_excel_writes_them_are_read_or_one_clear_error(encoding, root):
    table(root, "sub-A1\t31\tF\tKöln", encoding=encoding, header="participant_id\tage\tsex\tsite")
    if encoding in ("latin-1", "utf-16-le"):
        with pytest.raises(DataError, match=r"participants.tsv: not a text table.*UTF-8"):
            BidsFolder(root).scans()
    else:
        assert BidsFolder(root).scans()[0].site == "Köln"


@pytest.mark.parametrize(
    "name",
    ["sub-A1/ses-A/anat/sub-A1_ses-B_T1w.nii", "sub-A1/ses-A/anat/sub-A1_T1w.nii", "sub-D4/anat/sub-D4_ses-1_T1w.nii"],
)
def test_folder_and_file_of_two_sessions_are_refused(name, root):
    touch(root, name)
    with pytest.raises(DataError, match="not a BIDS file name"):
        BidsFolder(root).scans()


def test_hidden_files_are_no_scans_and_no_masks(root):
    touch(root, "sub-A1/anat/._sub-A1_T1w.nii.gz", "sub-A1/anat/.sub-A1_T1w.nii.gz")
    touch(root, "derivatives/seg/sub-A1/anat/._sub-A1_dseg.nii.gz")
    scans = BidsFolder(root, labels="derivatives/seg/{subject}/anat/*{session}*_dseg.nii.gz").scans()
    assert len(scans) == 4
    assert scans[0].labels.name == "sub-A1_dseg.nii.gz"


def test_bad_names_are_left_out_where_bad_scans_may_be(root, caplog):
    touch(root, "sub-C3/anat/sub-D4_T1w.nii.gz", "sub-A1/anat/sub-A1_T1w.nii")
    folder = BidsFolder(root, skip_bad=True)
    assert [scan.name for scan in folder.scans()] == ["sub-B2_ses-1_acq-mprage_run-1", "sub-B2_ses-2", "sub-C3"]
    assert "sub-D4" in caplog.text
    assert "T1w image of sub-A1 is there twice" in caplog.text
    assert len(folder.listing().bad) == 2
    with pytest.raises(DataError):
        BidsFolder(root, skip_bad=True, mask="nowhere/{subject}.nii").scans()


@pytest.mark.parametrize("pattern", ["masks/{sub}.nii", "masks/{}.nii", "masks/{subject.nii", "{subject!r}.nii"])
def test_a_pattern_that_is_none_is_one_clear_error(pattern, root):
    with pytest.raises(DataError, match=r"is no pattern of files.*data.mask="):
        BidsFolder(root, mask=pattern).scans()


@pytest.mark.real
def test_real_folders(real_data):
    scans = BidsFolder(
        real_data / "ixi-hh", labels="derivatives/dlmuse/{subject}/anat/*_desc-tissue_dseg.nii.gz"
    ).scans()
    assert len(scans) == 110
    assert all(scan.labels and scan.scanner and 18 < (scan.age or 50) < 100 for scan in scans)
    assert sum(scan.age is None for scan in scans) == 4
    assert len(BidsFolder(real_data / "open-ms").scans()) == 3


def test_a_file_in_place_of_a_folder_is_no_scan(root):
    touch(root, "sub-D4/anat", "sub-E5/ses-1/anat")
    assert {scan.subject for scan in BidsFolder(root).scans()} == {"sub-A1", "sub-B2", "sub-C3"}
