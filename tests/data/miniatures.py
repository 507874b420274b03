"""Miniature data sets with the real names of folders, files and columns; every image is the phantom."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from phantoms import AFFINE, phantom, save


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def image(path: Path, gain: float = 1.0) -> Path:
    return save(path, phantom()[0] * gain)


def labels(path: Path, codes: tuple[int, int, int, int] = (0, 1, 2, 3)) -> Path:
    """The phantom's tissues 0..3 under other codes."""
    return save(path, np.array(codes)[phantom()[1]], dtype=np.int16)


def mgz(path: Path, data: np.ndarray, dtype: type = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.MGHImage(data.astype(dtype), AFFINE), path)
    return path


def sidecar(path: Path, model: str) -> None:
    write(path, json.dumps({"Manufacturer": "Siemens", "ManufacturersModelName": model}))


def oasis_xnat(root: Path) -> Path:
    """Subject 1: TrioTim on days 129 (several runs) and 2430, Biograph on 2500 and 5000; 2: no sidecar; 3: no image."""
    one = root / "OAS30001_MR_d0129"
    image(one / "anat10/NIFTI/sub-OAS30001_ses-d0129_run-01_T1w.nii.gz", 2.0)
    image(one / "anat2/NIFTI/sub-OAS30001_ses-d0129_run-01_T1w.nii.gz")
    image(one / "anat1/NIFTI/sub-OAS30001_ses-d0129_run-02_T1w.nii.gz", 3.0)
    image(one / "anat3/NIFTI/sub-OAS30001_ses-d0129_T2w.nii.gz", 3.0)
    sidecar(one / "anat2/BIDS/sub-OAS30001_ses-d0129_run-01_T1w.json", "TrioTim")
    for day, model in (("2430", "TrioTim"), ("2500", "Biograph_mMR"), ("5000", "Biograph_mMR")):
        folder = root / f"OAS30001_MR_d{day}/anat1/NIFTI"
        image(folder / f"sub-OAS30001_ses-d{day}_T1w.nii.gz")
        sidecar(folder / f"sub-OAS30001_ses-d{day}_T1w.json", model)
    image(root / "OAS30002_MR_d0371/anat4/NIFTI/sub-OAS30002_ses-d0371_T1w.nii.gz")
    (root / "OAS30003_MR_d0001/anat1/NIFTI").mkdir(parents=True)
    write(
        root / "sheets/mr.csv",
        "label,filename,Manufacturer,ManufacturersModelName,Age",
        "OAS30002_MR_d0371,sub-OAS30002_ses-d0371_T1w.json,Siemens,TrioTim,70.5",
        "OAS30002_MR_d0371,sub-OAS30002_ses-d0371_T2w.json,Siemens,TrioTim,",
    )
    write(
        root / "sheets/demo.csv", "OASISID,AgeatEntry,AgeatDeath,GENDER", "OAS30001,65.15,,2", "OAS30002,50,,1",
    )  # fmt: skip
    return root


def oasis_bids(root: Path, subjects: int = 3) -> Path:
    for k in range(1, subjects + 1):
        name = f"sub-OAS3{k:04d}"
        stem = f"{name}/ses-d0100/anat/{name}_ses-d0100_T1w"
        image(root / f"{stem}.nii.gz", 1 + 0.1 * k)
        sidecar(root / f"{stem}.json", "TrioTim")
    write(root / "participants.tsv", "participant_id\tage\tsex", "sub-OAS30001\t61\tF", "sub-OAS30002\t62\tM")
    return root


def abide(root: Path) -> Path:
    write(
        root / "Phenotypic_V1_0b_preprocessed1.csv",
        ",i,SUB_ID,X,subject,SITE_ID,FILE_ID,DX_GROUP,AGE_AT_SCAN,SEX",
        "1,1,50003,2,50003,PITT,Pitt_0050003,1,24.45,1",
        "2,2,50772,3,50772,KKI,KKI_0050772,1,-9999,2",
        '3,3,50773,4,50773,KKI,no_filename,1,"11.5",2',
        "4,4,51456,5,51456,CALTECH,Caltech_0051456,1,55.4,1",
    )
    data, tissue = phantom()
    codes = np.array([0, 10, 42, 41])[tissue]
    mri = root / "Pitt_0050003/mri"
    mgz(mri / "T1.mgz", np.where(data > 0, data, 7))
    mgz(mri / "brainmask.mgz", data)
    mgz(mri / "aseg.mgz", codes, np.int32)
    mri = root / "KKI_0050772/mri"
    save(mri / "T1.nii.gz", np.where(data > 0, data, 7))
    save(mri / "brainmask.nii.gz", data)
    save(mri / "aseg.nii.gz", codes, dtype=np.int16)
    return root


def abide_site(root: Path, subjects: int) -> Path:
    """One site with its aseg maps."""
    rows = [f"{k},{k},{k},{k},{k},KKI,KKI_{k:07d},2,{10 + k},1" for k in range(1, subjects + 1)]
    header = ",i,SUB_ID,X,subject,SITE_ID,FILE_ID,DX_GROUP,AGE_AT_SCAN,SEX"
    write(root / "Phenotypic_V1_0b_preprocessed1.csv", header, *rows)
    data, tissue = phantom()
    for k in range(1, subjects + 1):
        mri = root / f"KKI_{k:07d}/mri"
        for name in ("T1", "brainmask"):
            save(mri / f"{name}.nii.gz", np.rint(data * (1 + 0.05 * k)), dtype=np.int16)
        save(mri / "aseg.nii.gz", np.array([0, 10, 42, 41])[tissue], dtype=np.int16)
    return root


def dhcp_term(root: Path, subjects: int) -> Path:
    """Neonates with one session and a scan age each."""
    write(root / "participants.tsv", "participant_id\tgender\tbirth_age")
    for k in range(1, subjects + 1):
        name = f"sub-CC{k:05d}XX01"
        write(root / name / f"{name}_sessions.tsv", "session_id\tscan_age\tscan_number", f"ses-{k}\t{37 + 0.5 * k}\t1")
        stem = root / name / f"ses-{k}/anat/{name}_ses-{k}"
        image(Path(f"{stem}_T2w.nii.gz"), 1 + 0.05 * k)
        save(Path(f"{stem}_desc-brain_mask.nii.gz"), phantom()[0] > 0, dtype=np.uint8)
        labels(Path(f"{stem}_desc-drawem9_dseg.nii.gz"), (0, 5, 2, 3))
    return root


def dhcp(root: Path) -> Path:
    write(
        root / "participants.tsv", "participant_id\tgender\tbirth_age",
        "CC00050XX01\tFemale\t42.7", "sub-CC00051XX02\tMale\t39.0",
    )  # fmt: skip
    for subject, session, age in (("CC00050XX01", "7201", "42.71"), ("CC00051XX02", "7702", "n/a")):
        name = f"sub-{subject}"
        write(root / name / f"{name}_sessions.tsv", "session_id\tscan_age\tscan_number", f"ses-{session}\t{age}\t1")
        stem = root / name / f"ses-{session}/anat/{name}_ses-{session}"
        image(Path(f"{stem}_T2w.nii.gz"))
        image(Path(f"{stem}_desc-restore_T2w.nii.gz"), 2.0)
        save(Path(f"{stem}_desc-brain_mask.nii.gz"), phantom()[0] > 0, dtype=np.uint8)
        labels(Path(f"{stem}_desc-drawem9_dseg.nii.gz"), (0, 5, 2, 3))
    first = root / "sub-CC00050XX01/ses-7201/anat"
    image(first / "sub-CC00050XX01_ses-7201_T1w.nii.gz", 3.0)
    return root


def ixi(root: Path) -> Path:
    for name in ("IXI002-Guys-0828-T1", "IXI012-HH-1211-T1", "IXI035-IOP-0873-T1", "IXI072-HH-2324-T1"):
        image(root / f"{name}.nii.gz")
    image(root / "IXI012-HH-1211-T2.nii.gz")
    write(
        root / "IXI.csv",
        '\ufeffIXI_ID,"SEX_ID (1=m, 2=f)",HEIGHT,WEIGHT,DATE_OF_BIRTH,AGE',
        "2,2,164,58,1970-01-30,35.80",
        "12,1,175,70,1966-08-20,38.78",
        "35,1,175,70,1966-08-20,0",
        "72,1,175,70,1966-08-20,38.78",
        "72,1,175,70,1966-08-20,58.70",
        "",
        "999,,,,,",
    )
    return root


def manifest(root: Path) -> Path:
    image(root / "a/one.nii.gz")
    image(root / "a/two.nii.gz", 2.0)
    image(root / "three.nii.gz", 3.0)
    save(root / "mask.nii.gz", phantom()[0] > 0, dtype=np.uint8)
    labels(root / "seg.nii.gz")
    return write(
        root / "scans.csv",
        "Path,subject,session,site,scanner,age,sex,mask,labels,split",
        "a/one.nii.gz,P1,v1,North,Trio,30.5,F,mask.nii.gz,seg.nii.gz,train",
        "a/two.nii.gz,P1,v2,North,Trio,31,f,,,train",
        f"{root / 'three.nii.gz'},P2,,,,89+,n/a,,,test",
    )
