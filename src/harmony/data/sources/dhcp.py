"""The neonatal data of the developing Human Connectome Project: T1w and T2w scans, ages in weeks, tissue labels."""

from __future__ import annotations

from pathlib import Path

from harmony.core import DataError, Scan
from harmony.data.sources.folders import checked_root, image_in, one_each, path_or_none
from harmony.data.sources.tables import Record, people_table

HINT = "copy the tables of the release into data.root="


class Dhcp:
    """Scans as the structural pipeline of the release names them:

        participants.tsv                                        gender or sex
        sub-CC00050XX01/sub-CC00050XX01_sessions.tsv            session_id, scan_age
        sub-CC00050XX01/ses-7201/anat/sub-CC00050XX01_ses-7201_T2w.nii.gz
        ..._desc-brain_mask.nii.gz, ..._desc-drawem9_dseg.nii.gz

    `Scan.age` is `scan_age`: **weeks** since the mother's last menstruation (postmenstrual age), not years.
    modality: the end of the image's name, "T1w", "T2w", or with a description: "desc-restore_T2w".
    mask, labels: likewise, e.g. "desc-drawem9_dseg" (9 tissues and the outside); None
    for none. An image without such a mask is an error; one without labels is not.
    """

    def __init__(
        self,
        root: str | Path | None,
        *,
        modality: str,
        mask: str | None = "desc-brain_mask",
        labels: str | None = "desc-drawem9_dseg",
    ) -> None:
        if not modality.endswith(("T1w", "T2w")):
            raise ValueError(f"modality must end in T1w or T2w, got {modality!r}")
        self.root = path_or_none(root)
        self.modality, self.mask, self.labels = modality, mask, labels

    def scans(self) -> list[Scan]:
        """All scans, ordered by name. Raises DataError for none, a missing mask, a broken or repeated table row."""
        root = checked_root(self.root, "dHCP")
        people = people_table(root / "participants.tsv", "participant_id", "sub-", hint=HINT)
        scans = []
        for folder in sorted(root.glob("sub-CC*")):
            visits = people_table(folder / f"{folder.name}_sessions.tsv", "session_id", "ses-", hint=HINT)
            for anat in sorted(folder.glob("ses-*/anat")):
                scan = self._scan(anat, folder.name, people.get(folder.name), visits.get(anat.parent.name))
                scans += [scan] if scan else []
        if not scans:
            problem = f"no sub-CC*/ses-*/anat/*_{self.modality}.nii.gz below this folder"
            cure = "point data.root= at the folder that holds the sub-CC* folders, or change data.modality="
            raise DataError(problem, cure=cure, path=root)
        return one_each(scans, "keep one image per session")

    def _scan(self, anat: Path, subject: str, who: Record | None, visit: Record | None) -> Scan | None:
        session = anat.parent.name
        stem = f"{subject}_{session}_"
        path = image_in(anat, stem + self.modality, subject=subject)
        if path is None:  # not every session has both contrasts
            return None
        mask = image_in(anat, stem + self.mask, subject=subject) if self.mask else None
        if self.mask and mask is None:
            cure = "add it, name another with data.mask=, or data.mask=null for skull-stripped images"
            raise DataError(f"no brain mask {stem}{self.mask}", cure=cure, path=anat, subject=subject)
        return Scan(
            path=path,
            subject=subject,
            session=session,
            site="dHCP",
            scanner="Philips Achieva 3T",
            age=visit.age("scan_age") if visit else None,
            sex=who.sex("sex", "gender") if who else None,
            mask=mask,
            labels=image_in(anat, stem + self.labels, subject=subject) if self.labels else None,
        )
