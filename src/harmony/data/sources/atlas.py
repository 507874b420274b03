"""A data set out of nothing but the installed packages: subjects made from the MNI152 template that nilearn carries.

Each subject is the template under a random smooth deformation, with a sex (brain size), an age (ventricles and sulci
widen and so the cortex thins), tissue labels that follow the deformation, and its own contrast, shading and grain.
It is anatomy to test, teach and debug with: no conclusion about people may be drawn from it.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel

from harmony.core import DataError, Scan
from harmony.core.files import atomic_path, write_changed
from harmony.core.progress import watched
from harmony.data.sources.bids import BidsFolder
from harmony.data.sources.template import AtlasSubject, Template, person

log = logging.getLogger(__name__)
VERSION = 1  # raise it when the same parameters give other voxels
LABELS = "derivatives/tissue/{subject}/anat/*_desc-tissue_dseg.nii.gz"


class Atlas:
    """`subjects` synthetic adults, written once as a BIDS folder below `folder`.

    Subject k of a (seed, resolution) has the same voxels whatever the number of subjects. resolution: voxel side in mm.
    Labels: 0 background, 1 CSF, 2 grey matter, 3 white matter.
    """

    def __init__(self, folder: str | Path, *, subjects: int, seed: int, resolution: int) -> None:
        self.folder = Path(folder).expanduser() / f"atlas-v{VERSION}-{resolution}mm-seed{seed}"
        self.subjects, self.seed, self.resolution = subjects, seed, resolution

    def scans(self) -> list[Scan]:
        """The scans in order; subjects that are not there yet are made first."""
        if self.subjects < 1:
            raise DataError(
                f"{self.subjects} subjects asked for", cure="set data.subjects= to 1 or more", path=self.folder
            )
        missing = [k for k in range(self.subjects) if not self._path(k).exists()]
        if missing:
            template = Template(self.resolution)
            for k in watched(missing, "atlas subjects"):
                self._write(k, template.subject(self.seed, k))
        self._describe()
        wanted = {_name(k) for k in range(self.subjects)}
        return [scan for scan in BidsFolder(self.folder, labels=LABELS).scans() if scan.subject in wanted]

    def _path(self, index: int) -> Path:
        name = _name(index)
        return self.folder / name / "anat" / f"{name}_T1w.nii.gz"

    def _write(self, index: int, subject: AtlasSubject) -> None:
        """The labels first: a subject counts as made when its image is there."""
        name = _name(index)
        labels = self.folder / "derivatives" / "tissue" / name / "anat" / f"{name}_desc-tissue_dseg.nii.gz"
        for path, data in ((labels, subject.labels), (self._path(index), subject.image)):
            with atomic_path(path) as temporary:
                nibabel.save(nibabel.Nifti1Image(data, subject.affine), temporary)

    def _describe(self) -> None:
        """participants.tsv for everybody in the folder: a smaller call does not forget a larger one's subjects."""
        count = len(list(self.folder.glob("sub-*")))
        rows = ["participant_id\tage\tsex\tsite\tscanner"]
        for k in range(max(count, self.subjects)):
            who = person(self.seed, k)
            rows.append(f"{_name(k)}\t{who.age:.1f}\t{who.sex}\tatlas\tatlas")
        write_changed(self.folder / "participants.tsv", "\n".join(rows) + "\n")
        about = {"Name": "harmony atlas subjects (synthetic)", "BIDSVersion": "1.9.0", "DatasetType": "raw"}
        write_changed(self.folder / "dataset_description.json", json.dumps(about, indent=2) + "\n")


def _name(index: int) -> str:
    return f"sub-{index:04d}"
