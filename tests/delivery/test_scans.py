"""Which scans are meant: files, a folder, masks, filters; and that mistakes are said in the words of `harmonize`."""

import json
from pathlib import Path

import pytest
from phantoms import phantom, save

from harmony.core import ConfigError, DataError
from harmony.delivery import Request, read_filter
from harmony.delivery.bids_filter import filtered
from harmony.delivery.scans import find_scans

DATA, _ = phantom()


@pytest.fixture
def bids(tmp_path):
    names = [
        "sub-01/ses-01/anat/sub-01_ses-01_acq-mprage_run-1_T1w",
        "sub-01/ses-01/anat/sub-01_ses-01_acq-mprage_run-02_T1w",
        "sub-01/ses-01/anat/sub-01_ses-01_acq-space_T1w",
        "sub-01/ses-02/anat/sub-01_ses-02_T1w",
        "sub-02/ses-01/anat/sub-02_ses-01_acq-mprage_run-1_T1w",
    ]
    for name in names:
        save(tmp_path / "bids" / f"{name}.nii.gz", DATA)
    return tmp_path / "bids"


def named(request, contrast="T1w"):
    return [scan.name for scan in find_scans(request, contrast)[0]]


def request(*sources, output="out", **changes):
    return Request(list(sources), Path(output), "none", **{"mask": None} | changes)


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({}, 5),
        ({"session": "01"}, 4),
        ({"session": "ses-02"}, 1),
        ({"acquisition": "mprage", "run": 1}, 2),
        ({"run": [1, "02"]}, 3),
        ({"run": "2"}, 1),
        ({"run": None}, 2),
        ({"acquisition": "*"}, 4),
        ({"subject": "02"}, 1),
        ({"suffix": "T1w", "datatype": "anat", "extension": ".nii.gz"}, 5),
        ({"acquisition": "mprage", "reconstruction": None, "session": ["01", "02"]}, 3),
    ],
)
def test_a_filter_of_a_bids_app_chooses(wanted, count, bids, tmp_path):
    path = tmp_path / "filter.json"
    path.write_text(json.dumps({"t1w": wanted, "bold": {"task": "rest"}}))
    assert len(named(request(bids, bids_filter=read_filter(path, "T1w")))) == count


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"t1w": {"acquisiton": "mprage"}}', "acquisiton is no entity; there are acquisition"),
        ('{"bold": {}}', r"nothing about t1w \(bold\)"),
        ("[1]", "nothing about t1w"),
        ('{"t1w": "x"}', "nothing about t1w"),
        ('{"t1w": ', "cannot be read"),
    ],
)
def test_a_file_that_is_no_filter_is_one_clear_error(text, words, tmp_path):
    (tmp_path / "filter.json").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_filter(tmp_path / "filter.json", "T1w")
    with pytest.raises(ConfigError, match=r"gone\.json: cannot be read"):
        read_filter(tmp_path / "gone.json", "T1w")


def test_a_filter_that_no_scan_passes_is_no_empty_run(bids):
    scans = find_scans(request(bids), "T1w")[0]
    with pytest.raises(ConfigError, match=r"none of 5 scans has run 7; the first is sub-01_ses-01"):
        filtered(scans, {"run": 7})


def test_several_files_are_scans_in_their_order_each_with_its_mask(tmp_path):
    files = [save(tmp_path / f"sub-{name}_T1w.nii.gz", DATA) for name in "ba"]
    masks = [save(tmp_path / f"sub-{name}_mask.nii.gz", DATA > 0) for name in "ba"]
    assert named(request(*files)) == ["sub-b", "sub-a"]
    scans, _ = find_scans(request(*files, mask=str(tmp_path / "{subject}_mask.nii.gz")), "T1w")
    assert [scan.mask for scan in scans] == masks
    with pytest.raises(ConfigError, match=r"one mask for 2 scans -> a pattern with \{subject\}"):
        find_scans(request(*files, mask=str(masks[0])), "T1w")
    with pytest.raises(ConfigError, match="a folder among files"):
        find_scans(request(files[0], tmp_path), "T1w")


def test_what_is_not_there_is_named_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan, link = save(tmp_path / "scan.nii.gz", DATA), tmp_path / "link.nii.gz"
    link.symlink_to("gone.nii.gz")
    with pytest.raises(DataError, match=r"absent\.nii\.gz: the brain mask: no such file .*mask="):
        find_scans(request(scan, mask="absent.nii.gz"), "T1w")
    with pytest.raises(DataError, match=r"link\.nii\.gz: the brain mask: a link to gone\.nii\.gz, which is not there"):
        find_scans(request(scan, mask="link.nii.gz"), "T1w")
    with pytest.raises(DataError, match=r"link\.nii\.gz: a link to gone\.nii\.gz, which is not there"):
        find_scans(request(link), "T1w")
    with pytest.raises(DataError, match=r"no such file or folder -> .*input="):
        find_scans(request(tmp_path / "nothing.nii.gz"), "T1w")


def test_mistakes_speak_of_the_settings_of_harmonize(bids, tmp_path):
    (tmp_path / "empty").mkdir()
    for one, word in ((request(tmp_path / "empty"), "input="), (request(bids, mask="masks/{subject}.nii"), "mask=")):
        with pytest.raises(DataError) as error:
            find_scans(one, "T1w")
        assert "data." not in str(error.value)
        assert word in error.value.cure
    with pytest.raises(ConfigError, match=r"output=.*out\.nii\.gz: one file, and input= is a folder"):
        find_scans(request(bids, output="out.nii.gz"), "T1w")


def test_one_scan_keeps_its_unit_and_several_get_the_references(bids, tmp_path):
    one, two = (save(tmp_path / f"sub-{k}_T1w.nii.gz", DATA) for k in "ab")
    assert request(one).own_unit
    assert not request(one, two).own_unit
    assert not request(bids).own_unit  # whatever is in it today: tomorrow's scans are to be comparable
    assert request(bids, original_scale=True).own_unit
    assert not request(one, original_scale=False).own_unit
