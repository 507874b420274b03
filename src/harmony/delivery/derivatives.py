"""Where results go: BIDS derivatives with a sidecar that says where each image comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony.core import DamagedError, DataError, Scan
from harmony.core.digests import read_sealed, sha256
from harmony.core.files import write_atomic
from harmony.data.sources.single import ENTITY, bare
from harmony.delivery.output import Output, Result

DESCRIPTION = "dataset_description.json"
FIGURES = "figures"
IGNORED = f"{FIGURES}\n*.html\nstudy\nreference.*\n"  # what BIDS has no names for
README = """# Harmonized scans

Made by harmony from the data set that dataset_description.json names: each image is its source, on the source's own
grid, mapped into the domain of a reference scanner. `desc-` says by which method, the `.json` beside it by which model.
quality.html shows every scan before and after; `desc-brain_mask` is a brain mask that was made on the way.
"""
SUFFIX = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True)
class Derivatives(Output):
    """A BIDS derivatives folder: `sub-X[/ses-Y]/anat/sub-X[_ses-Y][_acq-Z...]_desc-METHOD_T1w.nii.gz`, with `.json`s.
    The name keeps the entities and the suffix of the source's; only another `desc-` gives way to the method's.

    Another image of the same name is refused (`check`).
    """

    root: Path
    method: str

    def image(self, scan: Scan) -> Path:
        return self.root / scan.subject / (scan.session or "") / "anat" / f"{self.stem(scan)}.nii.gz"

    def sidecar(self, scan: Scan) -> Path:
        return self.image(scan).with_name(f"{self.stem(scan)}.json")

    def mask(self, scan: Scan) -> Path:
        return self.image(scan).with_name(f"{_entities(scan)[0]}_desc-brain_mask.nii.gz")

    def lock(self, scan: Scan) -> Path:
        return self.root / ".locks" / f"{self.stem(scan)}.lock"

    def figure(self, scan: Scan) -> Path:
        return self.root / FIGURES / f"{self.stem(scan)}.png"

    @property
    def page(self) -> Path:
        return self.root / "quality.html"

    def stem(self, scan: Scan) -> str:
        """The name of a scan's result, without ending. A label of BIDS has letters and digits only."""
        entities, suffix = _entities(scan)
        return f"{entities}_desc-{label(self.method)}_{suffix}"

    def results(self) -> Iterator[Result]:
        """Everything that is finished below this folder, of every method, in the order of names."""
        for sidecar in sorted(self.root.glob("sub-*/**/anat/*_desc-*.json")):
            try:
                about = read_sealed(sidecar)
            except (OSError, DamagedError):
                continue
            if "Method" in about and sidecar.with_suffix(".nii.gz").exists():  # a mask has no method
                yield Result(sidecar.stem, about, self.root / FIGURES / f"{sidecar.stem}.png")

    def check(self, scans: Sequence[Scan]) -> None:
        """Raises DataError where writing the results of `scans` would destroy something: another data set, the result
        of another scan of the same call, or of another image. Nothing is written."""
        self._check_folder()
        first: dict[str, Scan] = {}
        for scan in scans:
            twin = first.setdefault(str(self.image(scan)).casefold(), scan)
            if twin is not scan:
                problem = f"would be written over the result of {twin.path}: both become {self.image(scan).name}"
                raise _taken(scan, problem, "give each its own output=")
            self._check_former(scan)

    def describe(self, *, version: str, sources: Sequence[Path]) -> None:
        """dataset_description.json, as BIDS wants it of derivatives. Raises DataError in another data set's folder."""
        self._check_folder()
        names = dict.fromkeys(source.resolve().name for source in sources)
        about = {
            "Name": "harmony: harmonized scans",
            "BIDSVersion": "1.9.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "harmony", "Version": version}],
            "SourceDatasets": [{"URL": name} for name in names],
        }
        write_atomic(self.root / DESCRIPTION, json.dumps(about, indent=2) + "\n")
        write_atomic(self.root / ".bidsignore", IGNORED)
        write_atomic(self.root / "README.md", README)

    def _check_folder(self) -> None:
        """A folder of subjects is taken for a data set of its own unless its description says that harmony made it."""
        described = self.root / DESCRIPTION
        if described.exists():
            made_by = _makers(described)
        elif any(self.root.glob("sub-*")):
            made_by = []
        else:
            return
        if "harmony" not in made_by:
            raise DataError(
                f"holds a data set that harmony did not make ({DESCRIPTION})",
                cure="give another folder with output=, for example derivatives/harmony of the data set",
                path=self.root,
            )

    def _check_former(self, scan: Scan) -> None:
        """What is there already must be of the same image; it is then replaced, or left alone."""
        done = self.provenance(scan)
        if done is None or not scan.path.is_file():
            return
        if done.get("MadeFrom", {}).get("image") != sha256(scan.path):
            problem = f"{self.image(scan).name} is there already, from another image of the same name"
            raise _taken(scan, problem, "give another output=, or delete it first")


def label(method: str) -> str:
    """A method's name as a label of BIDS: histogram_matching -> histogrammatching."""
    return re.sub(r"[^A-Za-z0-9]", "", method)


def relative_name(path: Path, root: Path) -> str:
    """A file as a sidecar names it: below its data set's folder, without what lies above; else its name alone."""
    return path.relative_to(root).as_posix() if root.is_dir() and path.is_relative_to(root) else path.name


def _entities(scan: Scan) -> tuple[str, str]:
    """The entities and the suffix of a result's name, without `desc-`."""
    words = bare(scan.path).split("_")
    suffix = words.pop() if SUFFIX.fullmatch(words[-1]) and len(words) > 1 else scan.contrast
    if words[0] != scan.subject or not all(ENTITY.fullmatch(word) for word in words):
        words, suffix = [scan.name], scan.contrast
    return "_".join(word for word in words if not word.startswith("desc-")), suffix


def _makers(path: Path) -> list[str]:
    """The names of GeneratedBy; none where the description cannot be read."""
    try:
        return [each["Name"] for each in json.loads(path.read_text(encoding="utf-8"))["GeneratedBy"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _taken(scan: Scan, problem: str, cure: str) -> DataError:
    return DataError(problem, cure=cure, path=scan.path, subject=scan.subject)
