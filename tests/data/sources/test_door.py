"""Tables and names as people have them: the right person's age, the right mask, and nothing left out without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from empty_files import touch
from phantoms import phantom, preprocess, save

from harmony.core import DataError
from harmony.core.contrasts import special_image
from harmony.core.manifest import refuse_other_contrast
from harmony.data import BidsFolder, SliceDataModule, single_scan
from harmony.data.inspection import inspect
from harmony.data.sources.people import People


@pytest.fixture
def root(tmp_path):
    touch(tmp_path, *(f"sub-0{k}/anat/sub-0{k}_T1w.nii.gz" for k in (1, 2, 3)))
    return tmp_path


def ages(root: Path, table: str, encoding: str = "utf-8") -> list[float | None]:
    (root / "participants.tsv").write_bytes(table.encode(encoding))
    return [scan.age for scan in BidsFolder(root).scans()]


# C3


@pytest.mark.parametrize(
    "note", ['"left-handed', 'a "quoted" word', '"', "5'11\" tall", '"""', '"one" and "two"'], ids=range(6)
)
def test_a_quote_in_a_note_is_a_letter(note, root):
    rows = [f"sub-01\t31\t{note}", "sub-02\t42\tok", "sub-03\t53\tok"]
    assert ages(root, "\n".join(["participant_id\tage\tnote", *rows, ""])) == [31, 42, 53]
    first = "\n".join(["participant_id\tnote\tage", *(f"{i}\t{n}\t{a}" for i, a, n in (r.split("\t") for r in rows))])
    assert ages(root, first) == [31, 42, 53]


def test_whole_words_in_quotes_are_words(root):
    table = '"participant_id"\t"age"\t"sex"\n"sub-01"\t31\t"F"\n"sub-02"\t42\t"M"\n"sub-03"\t"53"\tNA\n'
    assert ages(root, table) == [31, 42, 53]
    assert [scan.sex for scan in BidsFolder(root).scans()] == ["F", "M", None]


@pytest.mark.parametrize(
    ("head", "row"), [("", "\t"), ("", "\t\t\t"), ("\t", ""), ("\t\t", "\t"), ("", " \t "), ("\t", "\t\t")]
)
def test_tabs_behind_the_last_column_are_nothing(head, row, root):
    rows = [f"sub-01\t31{row}", f"sub-02\t42{row}", "sub-03\t53"]
    assert ages(root, "\n".join([f"participant_id\tage{head}", *rows])) == [31, 42, 53]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_ends_and_byte_order_marks(end, encoding, root):
    table = end.join(["participant_id\tage\tsite", "sub-01\t31\tK\u00f6ln\u2028", "sub-02\t42\tB", "sub-03\t53\tB", ""])
    assert ages(root, table, encoding) == [31, 42, 53]


@pytest.mark.parametrize("dash", ["-", "--", "\u2013", "\u2014", "n/a", "", "NA", "?"])
def test_a_dash_is_no_age(dash, root):
    assert ages(root, f"participant_id\tage\nsub-01\t{dash}\nsub-02\t42\nsub\u201303\t53\n") == [None, 42, 53]


def test_a_row_a_session(root):
    touch(root, *(f"sub-04/ses-{s}/anat/sub-04_ses-{s}_T1w.nii.gz" for s in ("a", "b", "c")))
    rows = ["sub-01\tn/a\t31\tF", "sub-04\tses-a\t60\tF", "sub-04\tb\t61.5\tF"]
    table = "\n".join(["participant_id\tsession_id\tage\tsex", *rows])
    assert ages(root, table) == [31, None, None, 60, 61.5, None]
    assert [scan.sex for scan in BidsFolder(root).scans()] == ["F", None, None, "F", "F", "F"]
    with pytest.raises(DataError, match=r"line 4: participant_id 'sub-04' was already on line 3"):
        ages(root, table.replace("\tb\t", "\tses-a\t"))
    assert ages(root, table + "\n" + rows[-1]) == [31, None, None, 60, 61.5, None]


def test_ages_of_sessions_come_first(root):
    touch(root, *(f"sub-04/ses-{s}/anat/sub-04_ses-{s}_T1w.nii.gz" for s in ("a", "b")))
    sessions = root / "sub-04" / "sub-04_sessions.tsv"
    sessions.write_text('session_id\tage\tnote\nses-a\t60\t"x\nb\t61.5\ty\t\n')
    assert ages(root, "participant_id\tage\tsex\nsub-04\t59\tM\n") == [None, None, None, 60, 61.5]
    sessions.write_text("session_id\tacq_time\nses-a\t2001\n")
    assert ages(root, "participant_id\tage\tsex\nsub-04\t59\tM\n")[3:] == [59, 59]
    sessions.write_text("session_id\tage\nses-a\told\n")
    with pytest.raises(DataError, match=r"sub-04_sessions.tsv: line 2: age 'old'"):
        BidsFolder(root).scans()


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_a_table_that_cannot_be_read_stops_only_what_asks_for_ages(encoding, root):
    """C10: an age `-5` and a site in Latin-1, of which harmonize asks neither."""
    table = "participant_id\tage\tsite\nsub-01\t-5\tK\u00f6ln\nsub-01\t7\tB\n"
    with pytest.raises(DataError, match=r"participants.tsv.*UTF-8"):
        ages(root, table, encoding)
    listing = BidsFolder(root, people=False).listing()
    assert (len(listing.scans), listing.bad, listing.left_out) == (3, [], [])


# C5


LEFT_OUT = {
    "sub-10/anat/sub-10_t1w.nii.gz": "not named",
    "sub-11/anat/sub-11_T1w.NII.GZ": "not named",
    "sub-12/anat/sub-12_T1w.mgz": "not named",
    "sub-13/anat/sub-13_T1W.nii": "not named",
    "sub-14/anat/sub-14_T1w.nii.bz2": "not named",
    "sub-15/sub-15_T1w.nii.gz": "not in an anat folder",
    "sub-16/Anat/sub-16_T1w.nii.gz": "not in an anat folder",
    "Sub-17/anat/Sub-17_T1w.nii.gz": "not named sub-LABEL",
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_an_image_that_is_not_taken_is_named(name, root, caplog):
    touch(root, name)
    (error,) = BidsFolder(root).listing().left_out
    assert error.path == root / name
    assert LEFT_OUT[name] in error.problem
    BidsFolder(root).listing().chosen(participants=None, sessions=None, skip_bad=False)
    assert "1 images or subjects left out" in caplog.text


def test_subjects_sessions_and_rows_without_an_image_are_named(root):
    touch(root, "sub-20/anat/sub-20_T2w.nii.gz", "sub-21/func/x.nii.gz", "sub-22/ses-1/anat/sub-22_ses-1_T1w.nii.gz")
    touch(root, "sub-22/ses-2/func/x.nii.gz")
    (root / "participants.tsv").write_text("participant_id\nsub-01\nsub-99\n")
    found = {(error.subject, error.problem) for error in BidsFolder(root).listing().left_out}
    assert found == {
        ("sub-20", "no T1w image"),
        ("sub-21", "no T1w image"),
        ("sub-22", "no T1w image"),
        (None, "line 3: no folder of 'sub-99'"),
    }


# C9


SPECIAL = [
    "ce-gadolinium",
    "part-phase",
    "echo-1",
    "part-imag",
    "inv-2",
    "run-1_echo-2",
    "space-MNI152_res-1",
    "flip-2",
]


@pytest.mark.parametrize("entities", SPECIAL)
def test_an_image_that_is_not_plain_is_left_out_and_named(entities, root):
    touch(root, f"sub-01/anat/sub-01_{entities}_T1w.nii.gz", f"sub-09/anat/sub-09_{entities}_T1w.nii.gz")
    listing = BidsFolder(root).listing()
    assert [scan.name for scan in listing.scans] == ["sub-01", "sub-02", "sub-03"]
    assert [error.subject for error in listing.left_out] == ["sub-01", "sub-09"]
    assert all("not a plain T1w image" in error.problem for error in listing.left_out)
    with pytest.raises(DataError, match="not a plain T1w image"):
        refuse_other_contrast(single_scan(listing.left_out[0].path, None), "T1w")


@pytest.mark.parametrize("entities", ["acq-mprage", "rec-norm", "part-mag", "run-2", "dir-AP", "acq-a_run-1"])
def test_an_image_that_is_plain_is_taken(entities, root):
    touch(root, f"sub-01/anat/sub-01_{entities}_T1w.nii.gz")
    listing = BidsFolder(root).listing()
    assert len(listing.scans) == 4
    assert not listing.left_out
    assert special_image(entities) is None


# C13


@pytest.mark.parametrize(
    "other", ["space-MNI152NLin2009cAsym_desc-brain", "space-MNI152NLin2009cAsym_res-2_desc-brain", "res-2_desc-brain"]
)
def test_the_mask_on_the_scans_own_grid_is_taken(other, root):
    folder = "derivatives/fmriprep/sub-01/anat"
    touch(root, f"{folder}/sub-01_{other}_mask.nii.gz", f"{folder}/sub-01_desc-brain_mask.nii.gz")
    for name in ("2", "3"):
        touch(root, f"derivatives/fmriprep/sub-0{name}/anat/sub-0{name}_desc-brain_mask.nii.gz")
    pattern = "derivatives/fmriprep/{subject}/anat/*_desc-brain_mask.nii.gz"
    assert BidsFolder(root, mask=pattern).scans()[0].mask == root / folder / "sub-01_desc-brain_mask.nii.gz"
    (root / folder / "sub-01_desc-brain_mask.nii.gz").rename(root / folder / "sub-01_space-T1w_desc-brain_mask.nii.gz")
    assert BidsFolder(root, mask=pattern).scans()[0].mask.name == "sub-01_space-T1w_desc-brain_mask.nii.gz"


# C16, C17


def looked(root: Path, intent):
    shares = {"train": 0.5, "val": 0.3, "test": 0.2}
    source = BidsFolder(root)
    data = SliceDataModule(
        source, preprocess(), "none", shares=shares, split_seed=0, count=4, step=1, batch_size=1, seed=0
    )
    return inspect(data, intent)


def test_what_is_wrong_depends_on_what_is_intended(tmp_path):
    save(tmp_path / "sub-1" / "anat" / "sub-1_T1w.nii.gz", phantom()[0])
    touch(tmp_path, "sub-2/anat/sub-2_t1w.nii.gz")
    (tmp_path / "participants.tsv").write_bytes("participant_id\tsite\nsub-1\tK\u00f6ln\nsub-9\tA\n".encode("latin-1"))
    for intent in ("train", "study"):
        assert "UTF-8" in looked(tmp_path, intent).errors[0].cure
    for intent in ("harmonize", None):
        assert not looked(tmp_path, intent).errors
    (tmp_path / "participants.tsv").write_text("participant_id\tsite\nsub-1\tA\nsub-9\tA\n")
    assert [error.problem for error in looked(tmp_path, "train").errors] == [
        "no subject for the part 'train': 1 subjects with shares {'train': 0.5, 'val': 0.3, 'test': 0.2}"
    ]
    assert [error.problem for error in looked(tmp_path, "study").errors] == [
        "1 sites are known (A): a study compares 2 or more"
    ]
    found = looked(tmp_path, "harmonize")
    assert not found.errors
    assert [each.problem[:10] for each in found.warnings] == ["a brain of"]  # the phantom is small
    assert [each.problem for each in found.left_out] == ["not named ..._T1w.nii.gz", "line 3: no folder of 'sub-9'"]
    assert not looked(tmp_path, None).errors


def test_a_folder_of_dicom_files_is_told_of_dcm2niix(tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(200))
    with pytest.raises(DataError, match=r"DICOM files.*dcm2niix"):
        BidsFolder(tmp_path).scans()


def test_where_ages_decide_nothing_a_table_that_cannot_be_read_says_nothing(tmp_path):
    """harmonize warns of a child, and stops at no table."""
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-01\t3\nsub-02\tthirty\n")
    people = People.readable(tmp_path)
    assert (people.known_age("sub-01", None), people.known_age("sub-02", None)) == (3.0, None)
    (tmp_path / "participants.tsv").write_text("nobody\tage\nsub-01\t3\n")
    assert People.readable(tmp_path).known_age("sub-01", None) is None


def test_an_age_belongs_to_its_session_a_sex_to_the_person(tmp_path):
    rows = ["sub-01\tses-a\t40\tF", "sub-01\tses-b\t40\tF"]
    (tmp_path / "participants.tsv").write_text("\n".join(["participant_id\tsession_id\tage\tsex", *rows]))
    another = People.of(tmp_path).at("sub-01", "c")
    assert (another.age, another.sex) == (None, "F")
