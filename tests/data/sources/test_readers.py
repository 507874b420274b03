"""Every data set becomes the same table: miniature folders with the real names, read field by field."""

from __future__ import annotations

import csv

import miniatures
import numpy as np
import pytest
import torch
from miniatures import image, labels, write
from phantoms import phantom, preprocess, save, scan_of

from harmony.core import DataError, split_by_subject
from harmony.data import (
    LABEL_MAPS,
    STRUCTURES,
    Abide,
    BidsFolder,
    CsvManifest,
    Dhcp,
    Ixi,
    Oasis3,
    Preprocess,
    SliceDataModule,
    VolumeCache,
    map_labels,
    read_nifti,
)

READERS = {
    "oasis3": lambda root: Oasis3(miniatures.oasis_xnat(root)),
    "oasis3 BIDS": lambda root: Oasis3(miniatures.oasis_bids(root)),
    "abide": lambda root: Abide(miniatures.abide(root), sites=None),
    "dhcp": lambda root: Dhcp(miniatures.dhcp(root), modality="T2w"),
    "ixi": lambda root: Ixi(miniatures.ixi(root), sites=None),
    "csv": lambda root: CsvManifest(miniatures.manifest(root)),
}
EMPTY = {
    "oasis3": Oasis3,
    "abide": lambda root: Abide(root, sites=None),
    "dhcp": lambda root: Dhcp(root, modality="T1w"),
    "ixi": lambda root: Ixi(root, sites=None),
}


@pytest.mark.parametrize("name", READERS)
def test_every_reader_gives_volumes(name, tmp_path):
    """The same phantom whatever the folder: the mask is the phantom's, the image its grey levels."""
    scans = READERS[name](tmp_path).scans()
    prepare = preprocess(label_map="freesurfer" if name == "abide" else None)
    brain = phantom()[0] > 0
    expected = preprocess()(scan_of(tmp_path / "plain")).image
    assert len(scans) >= 2
    assert [scan.name for scan in scans] == sorted({scan.name for scan in scans})
    for scan in scans:
        volume = prepare(scan)
        assert volume.mask.sum() == brain.sum()
        assert torch.allclose(volume.image, expected, atol=1e-5)
        assert (volume.labels is None) == (scan.labels is None)


@pytest.mark.parametrize("name", EMPTY)
def test_a_folder_that_is_not_there_or_empty_names_the_setting(name, tmp_path):
    for root in (None, tmp_path / "none", tmp_path):
        with pytest.raises(DataError, match=r"data\.root="):
            EMPTY[name](root).scans()


def fields(scan) -> tuple:
    return scan.name, scan.site, scan.scanner, scan.age, scan.sex


def test_oasis3_as_xnat_has_it(tmp_path):
    root = miniatures.oasis_xnat(tmp_path)
    source = Oasis3(root, metadata="sheets/mr.csv", demographics=root / "sheets/demo.csv")
    assert [fields(scan) for scan in source.scans()] == [
        ("sub-OAS30001_ses-d0129", "OASIS-3", "Siemens TrioTim", 65.50, "F"),
        ("sub-OAS30001_ses-d2430", "OASIS-3", "Siemens TrioTim", 71.80, "F"),
        ("sub-OAS30002_ses-d0371", "OASIS-3", "TrioTim", 70.5, "M"),
    ]
    first = source.scans()[0].path
    assert first.relative_to(root).as_posix() == (
        "OAS30001_MR_d0129/anat2/NIFTI/sub-OAS30001_ses-d0129_run-01_T1w.nii.gz"
    )
    everyone = Oasis3(root, scanner=None).scans()
    assert [scan.session for scan in everyone] == ["ses-d0129", "ses-d2430", "ses-d2500", "ses-d5000", "ses-d0371"]
    assert [scan.session for scan in Oasis3(root, scanner="biograph mmr").scans()] == ["ses-d2500", "ses-d5000"]
    assert {scan.age for scan in everyone} == {None}


def test_oasis3_warns_of_sessions_whose_scanner_is_unknown(tmp_path, caplog):
    scans = Oasis3(miniatures.oasis_xnat(tmp_path)).scans()
    assert [scan.subject for scan in scans] == ["sub-OAS30001"] * 2
    assert "1 sessions of unknown scanner" in caplog.text
    assert "OAS30002_MR_d0371" in caplog.text


def test_oasis3_as_bids_with_participants(tmp_path):
    scans = Oasis3(miniatures.oasis_bids(tmp_path)).scans()
    assert [fields(scan) for scan in scans] == [
        ("sub-OAS30001_ses-d0100", "OASIS-3", "Siemens TrioTim", 61, "F"),
        ("sub-OAS30002_ses-d0100", "OASIS-3", "Siemens TrioTim", 62, "M"),
        ("sub-OAS30003_ses-d0100", "OASIS-3", "Siemens TrioTim", None, None),
    ]
    image(tmp_path / "sub-OAS30001/ses-d0900/anat/sub-OAS30001_ses-d0900_T1w.nii.gz")
    ages = [scan.age for scan in Oasis3(tmp_path, scanner=None).scans()]
    assert ages == [None, None, 62, None]  # one age for two sessions is the age of neither


def test_oasis3_mistakes(tmp_path):
    root = miniatures.oasis_xnat(tmp_path)
    with pytest.raises(DataError, match=r"'Prisma'.*Siemens Biograph_mMR, Siemens TrioTim"):
        Oasis3(root, scanner="Prisma").scans()
    with pytest.raises(DataError, match=r"no such table"):
        Oasis3(root, metadata="nowhere.csv").scans()
    write(root / "sheets/bad.csv", "label,Age", "OAS30001_MR_d0129,old")
    with pytest.raises(DataError, match=r"bad.csv: line 2: age 'old'"):
        Oasis3(root, metadata="sheets/bad.csv").scans()
    with pytest.raises(DataError, match=r"no mask matches"):
        Oasis3(root, mask="masks/{subject}_{session}.nii.gz").scans()
    twin = image(root / "sub-OAS30001/ses-d0129/anat/sub-OAS30001_ses-d0129_T1w.nii.gz")
    with pytest.raises(DataError, match=r"\[sub-OAS30001\].*there twice"):
        Oasis3(root).scans()
    twin.unlink()
    write(root / "OAS30002_MR_d0371/anat4/BIDS/sub-OAS30002_ses-d0371_T1w.json", "{broken")
    with pytest.raises(DataError, match=r"\[OAS30002\].*not a JSON sidecar"):
        Oasis3(root).scans()
    bare = tmp_path / "bare"
    image(bare / "OAS30002_MR_d0371/anat4/NIFTI/sub-OAS30002_ses-d0371_T1w.nii.gz")
    with pytest.raises(DataError, match=r"scanner of no session is known.*data.scanner=null"):
        Oasis3(bare).scans()


def test_abide(tmp_path):
    root = miniatures.abide(tmp_path)
    scans = Abide(root, sites=None).scans()
    assert [fields(scan) for scan in scans] == [
        ("sub-0050003", "PITT", None, 24.45, "M"),
        ("sub-0050772", "KKI", None, None, "F"),
    ]
    assert [scan.path.name for scan in scans] == ["T1.mgz", "T1.nii.gz"]
    assert [scan.site for scan in Abide(root, sites=["kki"]).scans()] == ["KKI"]
    table = root / "Phenotypic_V1_0b_preprocessed1.csv"
    table.write_text(table.read_text().replace("PITT", "Pitt"))
    assert [scan.site for scan in Abide(root, sites=["PITT"]).scans()] == ["Pitt"]
    volumes = [preprocess(label_map="freesurfer")(scan) for scan in scans]
    assert torch.equal(volumes[0].image, volumes[1].image)
    tissue = preprocess()(scan_of(tmp_path / "plain")).labels
    expected = torch.tensor([0, STRUCTURES.index("thalamus"), 2, 1], dtype=torch.int16)[tissue.long()]
    assert all(torch.equal(volume.labels, expected) for volume in volumes)
    assert preprocess(label_map="freesurfer")(Abide(root, sites=None, mask="aseg").scans()[0]).mask.any()


def test_abide_mistakes(tmp_path):
    root = miniatures.abide(tmp_path)
    with pytest.raises(DataError, match=r"data.sites= any of: CALTECH, KKI, PITT"):
        Abide(root, sites=["UCLA"]).scans()
    with pytest.raises(DataError, match=r"none of the 1 subjects"):
        Abide(root, sites=["CALTECH"]).scans()
    with pytest.raises(DataError, match=r"\[sub-0050003\].*no mask skull.*data.mask="):
        Abide(root, sites=None, mask="skull").scans()
    image(root / "Pitt_0050003/mri/T1.nii.gz")
    with pytest.raises(DataError, match=r"\[sub-0050003\].*T1.nii.gz and T1.mgz"):
        Abide(root, sites=None).scans()
    (root / "Pitt_0050003/mri/T1.nii.gz").unlink()
    table = root / "Phenotypic_V1_0b_preprocessed1.csv"
    good = table.read_text()
    for line, words in {
        "5,5,50003,2,50003,PITT,Pitt_0050003,1,24.45,1": "more than one scan of sub-0050003",
        "5,5,50003,2,50003,PITT,Pitt_0050003,1": "line 6 has 8 cells, the header has 10",
        "5,5,A1,2,50003,PITT,Pitt_0050003,1,24.45,1": "line 6: SUB_ID 'A1'",
        "5,5,50003,2,50003,PITT,../Pitt_0050003,1,24.45,1": "line 6: SUB_ID",
        "5,5,50003,2,50003,PITT,Pitt_0050003,1,24.45,9": "line 6: sex '9'",
        "5,5,50003,2,50003,PITT,,1,24.45,9": "line 6: column 'file_id' is empty",
    }.items():
        table.write_text(good + line + "\n")
        with pytest.raises(DataError, match=words):
            Abide(root, sites=None).scans()
    table.write_text(good.replace("SITE_ID", "SITE"))
    with pytest.raises(DataError, match=r"column 'site_id' is there 0 times"):
        Abide(root, sites=None).scans()
    table.unlink()
    with pytest.raises(DataError, match=r"no such table.*data.phenotype="):
        Abide(root, sites=None).scans()


def test_dhcp(tmp_path):
    root = miniatures.dhcp(tmp_path)
    scans = Dhcp(root, modality="T2w").scans()
    assert [fields(scan) for scan in scans] == [
        ("sub-CC00050XX01_ses-7201", "dHCP", "Philips Achieva 3T", 42.71, "F"),
        ("sub-CC00051XX02_ses-7702", "dHCP", "Philips Achieva 3T", None, "M"),
    ]
    assert scans[0].path.name == "sub-CC00050XX01_ses-7201_T2w.nii.gz"
    assert scans[0].mask.name == "sub-CC00050XX01_ses-7201_desc-brain_mask.nii.gz"
    assert scans[0].labels.name == "sub-CC00050XX01_ses-7201_desc-drawem9_dseg.nii.gz"
    assert preprocess()(scans[0]).labels.unique().tolist() == [0, 2, 3, 5]
    assert [scan.subject for scan in Dhcp(root, modality="T1w").scans()] == ["sub-CC00050XX01"]
    assert Dhcp(root, modality="desc-restore_T2w").scans()[1].path.name.endswith("_desc-restore_T2w.nii.gz")
    bare = Dhcp(root, modality="T2w", mask=None, labels=None).scans()[0]
    assert (bare.mask, bare.labels) == (None, None)


def test_dhcp_mistakes(tmp_path):
    root = miniatures.dhcp(tmp_path)
    with pytest.raises(ValueError, match="modality"):
        Dhcp(root, modality="dwi")
    with pytest.raises(DataError, match=r"\[sub-CC00050XX01\].*no brain mask.*data.mask="):
        Dhcp(root, modality="T2w", mask="desc-bet_mask").scans()
    table = root / "sub-CC00050XX01/sub-CC00050XX01_sessions.tsv"
    for row, words in {"7201\tterm\t1": "line 2: age 'term'", "7201\t40\t1\n7201\t41\t2": "line 3: session_id"}.items():
        write(table, "session_id\tscan_age\tscan_number", row)
        with pytest.raises(DataError, match=words):
            Dhcp(root, modality="T2w").scans()
    table.unlink()
    assert Dhcp(root, modality="T2w").scans()[0].age is None


def test_ixi(tmp_path):
    root = miniatures.ixi(tmp_path)
    assert [fields(scan) for scan in Ixi(root, sites=None).scans()] == [
        ("sub-IXI002", "Guys", "Philips Gyroscan Intera 1.5T", 35.8, "F"),
        ("sub-IXI012", "HH", "Philips Intera 3T", 38.78, "M"),
        ("sub-IXI035", "IOP", "GE 1.5T", None, "M"),
        ("sub-IXI072", "HH", "Philips Intera 3T", None, None),
    ]
    assert [scan.subject for scan in Ixi(root, sites=["IOP"]).scans()] == ["sub-IXI035"]
    (root / "IXI.csv").rename(root / "people.csv")
    assert {scan.age for scan in Ixi(root, sites=None).scans()} == {None}
    assert Ixi(root, sites=["HH"], demographics="people.csv").scans()[0].age == 38.78


def test_ixi_mistakes(tmp_path):
    root = miniatures.ixi(tmp_path)
    with pytest.raises(ValueError, match="Guys"):
        Ixi(root, sites=["Oxford"])
    sheet = (root / "IXI.csv").rename(root / "IXI.xls")
    with pytest.raises(DataError, match=r"IXI.xls: a spreadsheet.*export.*as CSV"):
        Ixi(root, sites=None).scans()
    with pytest.raises(DataError, match=r"export.*data.demographics="):
        Ixi(root, sites=None, demographics="IXI.csv").scans()
    sheet.unlink()
    second = image(root / "IXI012-HH-1300-T1.nii.gz")
    with pytest.raises(DataError, match=r"\[sub-IXI012\].*more than one scan"):
        Ixi(root, sites=None).scans()
    second.rename(root / "IXI013-Leeds-1300-T1.nii.gz")
    with pytest.raises(DataError, match=r"'Leeds'.*Guys, HH, IOP"):
        Ixi(root, sites=None).scans()
    write(root / "bad.csv", 'IXI_ID,"SEX_ID (1=m, 2=f)",AGE', "twelve,1,30")
    with pytest.raises(DataError, match=r"line 2: IXI_ID 'twelve'"):
        Ixi(root, sites=None, demographics="bad.csv").scans()


def test_csv(tmp_path):
    scans = CsvManifest(miniatures.manifest(tmp_path)).scans()
    assert [fields(scan) for scan in scans] == [
        ("P1_v1", "North", "Trio", 30.5, "F"),
        ("P1_v2", "North", "Trio", 31, "F"),
        ("P2", None, None, 89, None),
    ]
    assert [scan.split for scan in scans] == ["train", "train", "test"]
    assert scans[0].path == tmp_path / "a/one.nii.gz"
    assert (scans[0].mask, scans[0].labels) == (tmp_path / "mask.nii.gz", tmp_path / "seg.nii.gz")
    assert (scans[1].mask, scans[1].labels) == (None, None)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["path,subject,agee", "three.nii.gz,P1,3"], r"unknown columns: 'agee'.*age, sex"),
        (["path,age", "three.nii.gz,3"], r"column 'subject' is there 0 times"),
        (["path,subject,subject", "three.nii.gz,P1,P1"], r"column 'subject' is there 2 times"),
        (["path,subject"], r"the table has no line"),
        (["path,subject", "three.nii.gz,P1,x"], r"line 2 has 3 cells"),
        (["path,subject", "three.nii.gz"], r"line 2 has 1 cells"),
        (["path,subject", ",P1"], r"line 2: column 'path' is empty"),
        (["path,subject", "", "three.nii.gz,"], r"line 3: column 'subject' is empty"),
        (["path,subject", "four.nii.gz,P1"], r"\[P1\].*line 2: path: no such file.*four.nii.gz"),
        (["path,subject,mask", "three.nii.gz,P1,no.nii.gz"], r"line 2: mask: no such file"),
        (["path,subject", "three.nii.gz,../P1"], r"cannot be part of a file name"),
        (["path,subject", "three.nii.gz,P1", "three.nii.gz,P1"], r"\[P1\].*more than one scan of P1.*session"),
        (["path,subject,age", "three.nii.gz,P1,-4"], r"line 2: age '-4'"),
        (["path,subject,age", "three.nii.gz,P1,inf"], r"line 2: age 'inf'"),
        (["path,subject,sex", "three.nii.gz,P1,1"], r"line 2: sex '1'.*female"),
    ],
)
def test_csv_mistakes_name_file_and_line(lines, words, tmp_path):
    miniatures.manifest(tmp_path)
    with pytest.raises(DataError, match=words):
        CsvManifest(write(tmp_path / "table.csv", *lines)).scans()


def test_a_table_that_is_no_table(tmp_path):
    for path in (None, tmp_path / "none.csv"):
        with pytest.raises(DataError, match=r"data.path="):
            CsvManifest(path).scans()
    (tmp_path / "binary.csv").write_bytes(b"path,subject\n\xff\xfe\x00")
    with pytest.raises(DataError, match=r"not a text table"):
        CsvManifest(tmp_path / "binary.csv").scans()
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match=r"column 'path' is there 0 times"):
        CsvManifest(tmp_path / "empty.csv").scans()


SHARES = {"train": 0.4, "val": 0.2, "test": 0.4}


def table(folder, splits):
    """A scan per split, the subject P0, P1 ... unless the split says whose scan it is."""
    image(folder / "i.nii.gz")
    rows = [f"i.nii.gz,P{k if isinstance(part, str) else part[0]},v{k}," for k, part in enumerate(splits)]
    parts = [part if isinstance(part, str) else part[1] for part in splits]
    rows = [row + part for row, part in zip(rows, parts, strict=True)]
    return CsvManifest(write(folder / "t.csv", "path,subject,session,split", *rows))


def test_the_split_of_the_table_replaces_the_random_one(tmp_path):
    source = table(tmp_path, ["test", "train", "train", "train", "val", "train"])
    data = SliceDataModule(
        source, preprocess(), tmp_path / "cache", shares=SHARES, split_seed=0, count=2, step=1, batch_size=1, seed=0
    )
    found = {part: [scan.subject for scan in scans] for part, scans in data.split().items()}
    assert found == {"train": ["P1", "P2", "P3", "P5"], "val": ["P4"], "test": ["P0"]}


def test_splits_that_cannot_be_honoured(tmp_path):
    with pytest.raises(DataError, match=r"\[P3\].*split leak.*'train' and in 'test'"):
        split_by_subject(table(tmp_path, ["val", (3, "train"), (3, "test")]).scans(), SHARES, 0)
    with pytest.raises(DataError, match=r"\[P1\].*no split"):
        split_by_subject(table(tmp_path, ["val", "", "test"]).scans(), SHARES, 0)
    with pytest.raises(DataError, match=r"\[P1\].*'tset' is not a part.*train, val, test"):
        split_by_subject(table(tmp_path, ["val", "tset", "test"]).scans(), SHARES, 0)
    two = table(tmp_path, ["train", "test"]).scans()
    with pytest.raises(DataError, match=r"no scan has the split 'val'.*data.shares="):
        split_by_subject(two, SHARES, 0)
    assert split_by_subject(two, {"train": 0.5, "val": 0, "test": 0.5}, 0)["val"] == []
    parts = split_by_subject(table(tmp_path, [""] * 5).scans(), SHARES, 0)
    assert [len(parts[name]) for name in SHARES] == [2, 1, 2]


def test_the_label_maps_cover_the_same_structures():
    assert len(STRUCTURES) == 15
    for name, codes in LABEL_MAPS.items():
        assert set(codes.values()) == set(range(15)), name
        assert codes[0] == 0
    known = [("freesurfer", 4, 3), ("freesurfer", 1035, 2), ("freesurfer", 58, 13), ("muse", 4, 0), ("muse", 48, 11)]
    for name, code, index in known:
        assert LABEL_MAPS[name][code] == index
    left_and_right = map_labels(np.array([[2, 41], [17, 53]], np.int16), "freesurfer")
    assert left_and_right.tolist() == [[1, 1], [11, 11]]
    assert left_and_right.dtype == np.int16


def test_a_wrong_label_map_is_named_and_another_one_is_another_cache_entry(tmp_path):
    source = Abide(miniatures.abide(tmp_path), sites=["KKI"])
    labels(source.scans()[0].labels, (0, 10, 207, 206))
    with pytest.raises(DataError, match=r"\[sub-0050772\].*aseg.nii.gz.*freesurfer has no label 206, 207.*label_map="):
        preprocess(label_map="freesurfer")(source.scans()[0])
    with pytest.raises(ValueError, match="freesurfer"):
        preprocess(label_map="freesufer")
    labels(source.scans()[0].labels, (0, 35, 47, 31))  # codes of both: brain stem or amygdala
    names = {
        name: VolumeCache(tmp_path / "cache", preprocess(label_map=name)).get(source.scans()[0]).labels.max()
        for name in (None, "muse")
    }
    assert names == {None: 47, "muse": 12}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_mgz_is_read_safely(dtype, tmp_path):
    data = phantom()[0]
    path = miniatures.mgz(tmp_path / "T1.mgz", data, dtype)
    plain = read_nifti(save(tmp_path / "T1.nii.gz", data), subject="s")
    nifti = read_nifti(path, subject="s")
    assert np.array_equal(nifti.data, plain.data)
    assert np.allclose(nifti.affine, plain.affine)
    whole = path.read_bytes()
    for damaged in (whole[:-30], whole[:400], whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"\[s\].*T1.mgz.*copy or export"):
            read_nifti(path, subject="s")
    (tmp_path / "x.mgh").write_bytes((1).to_bytes(4, "big") + (9999).to_bytes(4, "big") * 3 + bytes(400))
    with pytest.raises(DataError, match=r"x.mgh"):
        read_nifti(tmp_path / "x.mgh", subject="s")


@pytest.mark.real
def test_real_scans_through_bids_and_through_a_table_are_the_same(real_data, tmp_path):
    pattern = "derivatives/dlmuse/{subject}/anat/*_desc-muse_dseg.nii.gz"
    scans = BidsFolder(real_data / "ixi-hh", labels=pattern).scans()[:3]
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "subject", "site", "scanner", "age", "sex", "labels"])
        for scan in scans:
            writer.writerow(
                [
                    scan.path.absolute(),
                    scan.subject,
                    scan.site,
                    scan.scanner,
                    scan.age,
                    scan.sex,
                    scan.labels.absolute(),
                ]
            )
    prepare = Preprocess(spacing=2.0, axis="axial", size=(80, 96), percentile=99.5, label_map="muse")
    again = CsvManifest(tmp_path / "table.csv").scans()
    assert [fields(scan) for scan in again] == [fields(scan) for scan in scans]
    for scan, twin in zip(scans, again, strict=True):
        one, two = prepare(scan), prepare(twin)
        assert torch.equal(one.image, two.image)
        assert torch.equal(one.labels, two.labels)
        assert torch.bincount(one.labels.flatten().long(), minlength=15).min() > 20  # every structure is there
