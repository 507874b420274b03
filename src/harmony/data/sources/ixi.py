"""IXI: healthy adults of three London hospitals, three scanners, in one flat folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from harmony.core import DataError, Scan
from harmony.data.sources.folders import Named, checked_root, companion, one_each, path_or_none
from harmony.data.sources.tables import CODED_SEXES, Record, read_table

log = logging.getLogger(__name__)
NAME = re.compile(r"(?P<id>IXI\d{3})-(?P<site>[A-Za-z]+)-\d+-T1\.nii(\.gz)?")
SCANNERS = {"Guys": "Philips Gyroscan Intera 1.5T", "HH": "Philips Intera 3T", "IOP": "GE 1.5T"}
SEX = "sex_id (1=m, 2=f)"
HINT = "open IXI.xls in a spreadsheet program, export it as CSV, and give it with data.demographics="


class Ixi:
    """`IXInnn-SITE-nnnn-T1.nii.gz` in one folder, with the demographics sheet (IXI.xls) exported as CSV.

    sites: of Guys, HH (Hammersmith), IOP; None for all.
    demographics: the CSV, relative to the root; None takes IXI.csv of the root; without it ages are unknown.
    A subject whose rows in the sheet disagree has unknown age and sex (the original sheet has such rows).
    labels, mask: as for BidsFolder; `{subject}` is `sub-IXInnn`.
    """

    def __init__(
        self,
        root: str | Path | None,
        *,
        sites: Sequence[str] | None,
        demographics: str | Path | None = None,
        labels: str | None = None,
        mask: str | None = None,
    ) -> None:
        unknown = sorted(set(sites or ()) - set(SCANNERS))
        if unknown:
            raise ValueError(f"sites must be of {sorted(SCANNERS)}, got {unknown}")
        self.root, self.sites, self.demographics = path_or_none(root), sites, demographics
        self.labels, self.mask = labels, mask

    def scans(self) -> list[Scan]:
        """The scans of the sites, ordered by name. Raises DataError for none, two of a subject, or a broken sheet."""
        root = checked_root(self.root, "IXI")
        people = self._people(root)
        found = [(path, match) for path in sorted(root.iterdir()) if (match := NAME.fullmatch(path.name))]
        for path, match in found:
            if match["site"] not in SCANNERS:
                cure = f"the sites of IXI are {', '.join(SCANNERS)}"
                raise DataError(f"site {match['site']!r} in the file name", cure=cure, path=path, subject=match["id"])
        wanted = [(path, match) for path, match in found if self.sites is None or match["site"] in self.sites]
        if not wanted:
            cure = "point data.root= at the folder of the unpacked images, and check data.sites="
            raise DataError("no IXInnn-SITE-nnnn-T1.nii.gz of these sites in this folder", cure=cure, path=root)
        scans = [self._scan(root, path, match, people.get(match["id"])) for path, match in wanted]
        return one_each(scans, "keep one image per subject")

    def _scan(self, root: Path, path: Path, match: re.Match[str], who: Record | None) -> Scan:
        subject = f"sub-{match['id']}"
        return Scan(
            path=path,
            subject=subject,
            site=match["site"],
            scanner=SCANNERS[match["site"]],
            age=_age(who),
            sex=who.sex(SEX, codes=CODED_SEXES) if who else None,
            mask=companion(root, self.mask, Named(subject), "mask", needed=True),
            labels=companion(root, self.labels, Named(subject), "labels", needed=False),
        )

    def _people(self, root: Path) -> dict[str, Record]:
        """IXInnn -> row."""
        path = root / Path(self.demographics or "IXI.csv").expanduser()
        if self.demographics is None and not path.is_file():
            if not (root / "IXI.xls").is_file():
                return {}
            path = root / "IXI.xls"  # read_table then says what to do with a spreadsheet
        rows: dict[str, list[Record]] = {}
        for record in read_table(path, needs=("ixi_id", "age", SEX), hint=HINT):
            number = record.needed("ixi_id").removesuffix(".0")
            if not number.isdigit():
                raise record.error(f"IXI_ID {number!r} is not a number", "correct or delete the line")
            rows.setdefault(f"IXI{int(number):03d}", []).append(record)
        unclear = [name for name, all_of in rows.items() if len({(r.text("age"), r.text(SEX)) for r in all_of}) > 1]
        if unclear:
            log.warning("%s: rows that disagree, age and sex unknown: %s", path, ", ".join(unclear))
        return {name: all_of[0] for name, all_of in rows.items() if name not in unclear}


def _age(who: Record | None) -> float | None:
    """Years. The sheet writes 0 where the age is not known."""
    return (who.age("age") or None) if who else None
