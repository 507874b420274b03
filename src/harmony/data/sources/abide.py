"""ABIDE I, preprocessed with FreeSurfer: one folder per subject and a phenotypic table; the adult data of HF."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harmony.core import DataError, Scan
from harmony.data.sources.folders import NIFTI, checked_root, image_in, one_each, path_or_none
from harmony.data.sources.tables import CODED_SEXES, Record, read_table

log = logging.getLogger(__name__)
PHENOTYPE = "Phenotypic_V1_0b_preprocessed1.csv"
COLUMNS = ("sub_id", "file_id", "site_id", "age_at_scan", "sex")
ENDINGS = (*NIFTI, ".mgz", ".mgh")
UNCODED = "-9999"  # how the table writes an unknown number


class Abide:
    """The subjects of `sites` that have been downloaded: `<FILE_ID>/mri/T1.mgz` (or .nii.gz), with brain mask and aseg.

    phenotype: the table, relative to the root. A row without a folder was not downloaded and is left out.
    image, mask, labels: names of the images below `mri`, without ending. Above 0 is brain in `mask`. Mask and labels
    may be None; `mask=aseg` takes the labelled voxels as the brain. The codes of aseg are mapped by `Preprocess`.
    sites: SITE_ID values, case ignored; None for all.
    """

    def __init__(
        self,
        root: str | Path | None,
        *,
        sites: Sequence[str] | None,
        phenotype: str | Path = PHENOTYPE,
        image: str = "T1",
        mask: str | None = "brainmask",
        labels: str | None = "aseg",
    ) -> None:
        self.root, self.phenotype = path_or_none(root), phenotype
        self.sites = None if sites is None else {site.upper() for site in sites}
        self.image, self.mask, self.labels = image, mask, labels

    def scans(self) -> list[Scan]:
        """The scans, ordered by name. Raises DataError for no subject, no such site, a missing mask, a broken table."""
        root = checked_root(self.root, "ABIDE")
        hint = f"put {PHENOTYPE} of the ABIDE preprocessed project into data.root=, or give data.phenotype="
        records = read_table(root / Path(self.phenotype).expanduser(), needs=COLUMNS, hint=hint)
        at_site = [each for each in records if self.sites is None or each.needed("site_id").upper() in self.sites]
        if not at_site:
            names = ", ".join(sorted({each.needed("site_id") for each in records}))
            cure = f"data.sites= any of: {names}"
            raise DataError("no subject of these sites in the table", cure=cure, path=root / self.phenotype)
        scans = [scan for each in at_site if (scan := self._scan(root, each))]
        if not scans:
            problem = f"none of the {len(at_site)} subjects of the table has <FILE_ID>/mri/{self.image}"
            raise DataError(problem, cure="point data.root= at the folder that holds the FILE_ID folders", path=root)
        if len(scans) < len(at_site):
            log.info("ABIDE: %d of the %d subjects of the table are there", len(scans), len(at_site))
        return one_each(scans, "keep one line per subject in the phenotypic table")

    def _scan(self, root: Path, record: Record) -> Scan | None:
        """None for a subject that is not there."""
        file_id, number = record.needed("file_id"), record.needed("sub_id")
        if not number.isdigit() or "/" in file_id:
            problem = f"SUB_ID {number!r}, FILE_ID {file_id!r}"
            raise record.error(problem, "SUB_ID is a number, FILE_ID the name of a folder")
        subject = f"sub-{int(number):07d}"
        folder = root / file_id / "mri"
        path = image_in(folder, self.image, endings=ENDINGS, subject=subject)
        if path is None:
            return None
        known = replace(record, cells={k: "" if v.startswith(UNCODED) else v for k, v in record.cells.items()})
        return Scan(
            path=path,
            subject=subject,
            site=record.needed("site_id"),
            age=known.age("age_at_scan"),
            sex=known.sex("sex", codes=CODED_SEXES),
            mask=self._beside(folder, self.mask, "mask", subject),
            labels=self._beside(folder, self.labels, "labels", subject),
        )

    def _beside(self, folder: Path, name: str | None, what: str, subject: str) -> Path | None:
        if name is None:
            return None
        path = image_in(folder, name, endings=ENDINGS, subject=subject)
        if path is None:
            cure = f"download it, name another with data.{what}=, or set data.{what}=null"
            raise DataError(f"no {what} {name} in this folder", cure=cure, path=folder, subject=subject)
        return path
