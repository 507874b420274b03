"""A BIDS folder of five sites.

python experiments/study_of_sites/make.py /path/to/ixi-hh /path/to/open-ms OUT [B C]

A: 20 people of ixi-hh as they are. B, C: others as these simulated scanners see them (tissue, mix). D: others as they
are. open-ms: patients of a real second scanner. B, C and D are people that no network was trained on,
dealt into groups of like age and sex.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
from hydra import compose, initialize_config_dir

from harmony import app
from harmony.core import Scan, Volume

UNIT, MARGIN = 1000, 6  # of an integer image; voxels of background around


def save(volume: Volume, path: Path) -> None:
    """As a scanner would: integers, background 0, and some of it around the brain."""
    brain = np.maximum(np.rint(volume.image.numpy() * UNIT), 1)
    data = np.pad(np.where(volume.mask.numpy(), brain, 0).astype(np.int16), MARGIN)
    affine = volume.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, MARGIN)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)


def told(scan: Scan) -> tuple[str, str]:
    """Sex and age, as a table has them."""
    return scan.sex or "n/a", "n/a" if scan.age is None else f"{scan.age:g}"


def dealt(scans: list[Scan], groups: int) -> list[list[Scan]]:
    """Into groups of like age and sex."""
    ordered = sorted(sorted(scans, key=lambda scan: scan.subject), key=told)
    return [ordered[k::groups] for k in range(groups)]


def main(ixi: str, open_ms: str, out: Path, b: str = "tissue", c: str = "mix") -> None:
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=ixi_inversion", f"data.root={ixi}"])
    data = app.build_data(cfg)
    parts = data.split()
    unseen = dealt([*parts["test"], *parts["val"]], 3)
    known = dealt(parts["train"], 3)[1]
    own = [known[round(k)] for k in np.linspace(0, len(known) - 1, 20)]
    rows = ["participant_id\tage\tsex\tsite"]
    for site, scans, scanner in zip("ABCD", [own, *unseen], [None, b, c, None], strict=True):
        for scan in scans:
            path = out / scan.subject / "anat" / f"{scan.subject}_T1w.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            if scanner is None:
                shutil.copyfile(scan.path, path)
            else:
                save(app.scanner(cfg, scanner)(data.preprocess(scan)), path)
            sex, age = told(scan)
            rows.append(f"{scan.subject}\t{age}\t{sex}\t{site}")
    for line in (Path(open_ms) / "participants.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        who, age, sex, *_ = line.split("\t")
        shutil.copytree(Path(open_ms) / who, out / who, dirs_exist_ok=True)
        rows.append(f"{who}\t{age}\t{sex}\topen-ms")
    (out / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (out / "dataset_description.json").write_text('{"Name": "five sites", "BIDSVersion": "1.8.0"}', encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
