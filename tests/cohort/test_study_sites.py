"""Whose scan is of which site, and what may be wrong with that."""

import json
from pathlib import Path

import pytest

from harmony.cohort.sites import Sites, find_sites
from harmony.core import ConfigError, DataError, Scan
from harmony.study import misleading


@pytest.fixture
def bids(tmp_path):
    """Four people of two sites; sub-4 was at both, in two sessions."""
    for name in ("sub-1", "sub-2", "sub-3", "sub-4/ses-1", "sub-4/ses-2"):
        folder = tmp_path / name / "anat"
        folder.mkdir(parents=True)
        (folder / f"{name.replace('/', '_')}_T1w.nii.gz").touch()
    table(tmp_path, "sub-1 A 30 F", "sub-2 A 40 M", "sub-3 B 50 F", "sub-4 n/a 60 M")
    (tmp_path / "sub-4" / "sub-4_sessions.tsv").write_text("session_id\tsite\nses-1\tA\nses-2\tB\n")
    return tmp_path


def table(root, *lines, columns="participant_id site age sex"):
    rows = ["\t".join(line.split(" ")) for line in (columns, *lines)]
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")


def sites(root, asked="site=A", participants=None):
    return find_sites(root, asked, participants=participants, mask=None)


def test_a_column_of_the_person_or_of_the_session(bids):
    found = sites(bids)
    assert {scan.name: scan.site for scan in found.scans} == {
        **{"sub-1": "A", "sub-2": "A", "sub-3": "B"},
        **{"sub-4_ses-1": "A", "sub-4_ses-2": "B"},
    }
    assert found.counts == {"A": 3, "B": 2}
    assert list(sites(bids, "site=B").counts) == ["B", "A"]
    assert {scan.name for scan in found.of("B")} == {"sub-3", "sub-4_ses-2"}
    assert sites(bids, "Site=A", participants=["1", "3"]).counts == {"A": 1, "B": 1}


def test_the_scanner_of_the_sidecars(bids):
    for k, path in enumerate(sorted(bids.rglob("*_T1w.nii.gz"))):
        about = {"Manufacturer": "Siemens", "MagneticFieldStrength": 3 if k < 3 else 1.5}
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(about))
    assert sites(bids, "scanner=Siemens 3").counts == {"Siemens 3": 3, "Siemens 1.5": 2}
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        sites(bids, "scanner=Siemens 3")
    path.with_name(path.name.replace(".nii.gz", ".json")).unlink()
    with pytest.raises(DataError, match="no sidecar that says the scanner") as caught:
        sites(bids, "scanner=Siemens 3")
    assert caught.value.subject == "sub-4"


def test_a_folder_for_each_site(bids, tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    for name in "AB":
        (root / name).symlink_to(bids)
    found = sites(root, "folder=B")
    assert found.counts == {"B": 5, "A": 5}
    assert list(found.folders) == ["A", "B"]


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ("A", ConfigError, "not COLUMN=SITE"),
        ("scnner=A", DataError, "no column 'scnner'; there are participant_id, site, age, sex"),
        ("site=C", ConfigError, r"no scan is of 'C'; there are A \(3\), B \(2\)"),
    ],
)
def test_words_that_mean_nothing_here(asked, error, said, bids):
    if "scnner" in asked:
        (bids / "sub-4" / "sub-4_sessions.tsv").unlink()
    with pytest.raises(error, match=said):
        sites(bids, asked)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("sub-1 A 30 F", "sub-2 A 40 M", "sub-3 A 50 F"), "a study needs two sites"),
        (("sub-1 Prisma-A 30 F", "sub-2 prisma_a 40 M", "sub-3 A 50 F"), "Prisma-A and prisma_a differ in spelling"),
        (("sub-1 A 30 F", "sub-2 n/a 40 M", "sub-3 B 50 F"), "no site"),
    ],
)
def test_a_table_that_says_too_little(lines, said, bids):
    table(bids, *lines, "sub-4 A 60 M")
    (bids / "sub-4" / "sub-4_sessions.tsv").unlink()
    asked = f"site={lines[0].split(' ')[1]}"
    with pytest.raises((ConfigError, DataError), match=said):
        sites(bids, asked)


def test_one_scanner_under_two_names_by_its_number(bids):
    for name in ("sub-1", "sub-3"):
        (bids / name / "anat" / f"{name}_T1w.json").write_text('{"DeviceSerialNumber": "42"}')
    with pytest.raises(ConfigError, match="A and B are one scanner, DeviceSerialNumber 42"):
        sites(bids)


def test_one_id_of_two_people(bids, tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    (root / "A").symlink_to(bids)
    for age, sex, said in ((70, "F", "sub-1 is 30 and 70 years old"), (31, "M", "sub-1 is a man and a woman")):
        folder = root / "B" / "sub-1" / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sub-1_T1w.nii.gz").touch()
        table(root / "B", f"sub-1 B {age} {sex}")
        with pytest.raises(ConfigError, match=said):
            sites(root, "folder=A")


def people(ages_a, ages_b, sexes="FM"):
    """Scans of sites A and B, a person for each age; sexes by turns, `FM`, or one for each site, `F/M`."""
    kinds = sexes.split("/") if "/" in sexes else [sexes, sexes]
    scans = [
        Scan(Path(f"{site}{k}.nii"), f"{site}{k}", site=site, age=age, sex=kind[k % len(kind)])
        for site, ages, kind in zip("AB", (ages_a, ages_b), kinds, strict=True)
        for k, age in enumerate(ages)
    ]
    return list(misleading(Sites(scans, {}, "A")))


SPREAD = [25.0, 35.0, 45.0, 55.0, 65.0, 75.0]


def test_sites_that_are_comparable_mislead_nobody():
    assert people(SPREAD, [age + 2 for age in SPREAD]) == []


def test_people_of_one_age_at_one_site_are_named_before_anything_else():
    (line,) = people(SPREAD, [78.0] * 6)
    assert line.startswith("age follows the site (mean years: A 50, B 78")
    (line,) = people(SPREAD, SPREAD, sexes="F/M")
    assert line.startswith("sex follows the site (women: A 100%, B 0%")


def test_a_site_of_few_people_and_one_without_ages_are_named():
    assert people(SPREAD, [50.0, 60.0]) == ["B: 2 people, of whom nothing can be told; it takes 3"]
    assert people(SPREAD, [None] * 6) == ["ages are known at A only"]
