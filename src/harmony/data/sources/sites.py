"""Stand-ins for the scanners of several sites: atlas subjects as each site's own scanner makes them.

Where a paper's real scans are absent, its experiment can still be run on the same shape of data. It shows that the
pipeline works; no conclusion about scanners or people may be drawn from it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch

from harmony.core import ConfigError, DataError, Scan, Volume
from harmony.core.files import atomic_path, write_changed
from harmony.core.measures import robust_scaled
from harmony.core.progress import watched
from harmony.core.runs import fingerprint
from harmony.data.simulation.query_scanners import query_scanner
from harmony.data.sources.atlas import LABELS
from harmony.data.sources.atlas import VERSION as ATLAS_VERSION
from harmony.data.sources.bids import BidsFolder
from harmony.data.sources.template import AtlasSubject, Template, person

VERSION = 1  # raise it when the same parameters give other voxels


@dataclass(frozen=True)
class Visit:
    """Subject `index` of the template's people at a site. name: `sub-...`."""

    name: str
    index: int


class SimulatedSites:
    """`subjects` people at each of `sites`, written on first use as one BIDS folder per site below `folder`.

    scanners: site -> its strengths of tissue contrast, bias field, blur and noise (a `mix` of `query_scanner`: not one
    curve of the grey level). The scanner's contrast and shading come from (seed, site) and are the same in every scan;
    each scan has noise of its own, and strengths off by exp(variation * N(0, 1)).
    travelling: the same people at every site; else each site has its own. Visit k of a site has the same voxels
    whatever the number of subjects and sites. percentile: of the brain, what is brighter saturates. Labels
    (0 background, 1 CSF, 2 grey matter, 3 white matter) and ages are the anatomy's own: sulci and ventricles widen with
    age.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        sites: Sequence[str] | None,
        scanners: Mapping[str, Mapping[str, float]],
        variation: float,
        travelling: bool,
        subjects: int,
        seed: int,
        resolution: int,
        percentile: float,
    ) -> None:
        unknown = [site for site in sites or () if site not in scanners]
        unfit = [site for site in scanners if not (site.isascii() and site.isalnum())]
        if unfit:
            raise ConfigError(f"scanners: {', '.join(unfit)}: not a name -> a site's name is letters and digits")
        if unknown:
            raise ConfigError(f"sites: {', '.join(unknown)}: no such site -> there are {', '.join(scanners)}")
        self.folder = Path(folder).expanduser() / f"sites-v{VERSION}.{ATLAS_VERSION}-{resolution}mm-seed{seed}"
        self.sites = list(scanners if sites is None else sites)
        self.scanners = {site: dict(strengths) for site, strengths in scanners.items()}
        self.variation, self.travelling = variation, travelling
        self.subjects, self.seed, self.resolution, self.percentile = subjects, seed, resolution, percentile

    def scans(self) -> list[Scan]:
        """The scans by site and subject; those that are not there yet are made first. Session and site are the same."""
        if self.subjects < 1:
            raise DataError(f"{self.subjects} subjects asked for", cure="set data.subjects= to 1 or more",
                            path=self.folder)  # fmt: skip
        return [scan for site in self.sites for scan in self._at(site)]

    def _at(self, site: str) -> list[Scan]:
        visits = [self._visit(site, k) for k in range(self.subjects)]
        missing = [visit for visit in visits if not all(path.exists() for path in self._files(site, visit))]
        if missing:
            template = _template(self.resolution)
            for visit in watched(missing, f"simulated scans of site {site}"):
                self._write(site, visit, template.subject(self.seed, visit.index))
        self._describe(site)
        wanted = {visit.name for visit in visits}
        found = BidsFolder(self._root(site), labels=LABELS).scans()
        return [scan for scan in found if scan.subject in wanted]

    def _visit(self, site: str, k: int) -> Visit:
        if self.travelling:
            return Visit(f"sub-{k:04d}", k)
        return Visit(f"sub-{site}{k:04d}", _number(site) * 100_000 + k)

    def _root(self, site: str) -> Path:
        """What decides the voxels is in the name: other settings are another folder."""
        settings = {"strengths": self.scanners[site], "variation": self.variation, "percentile": self.percentile}
        settings["travelling"] = self.travelling
        return self.folder / f"{site}-{fingerprint(settings)}"

    def _files(self, site: str, visit: Visit) -> tuple[Path, Path]:
        """Label map and image."""
        root, name = self._root(site), visit.name
        labels = root / "derivatives" / "tissue" / name / "anat" / f"{name}_desc-tissue_dseg.nii.gz"
        return labels, root / name / f"ses-{site}" / "anat" / f"{name}_ses-{site}_T1w.nii.gz"

    def _write(self, site: str, visit: Visit, subject: AtlasSubject) -> None:
        data = subject.labels, self._image(site, visit, subject)
        for path, voxels in zip(self._files(site, visit), data, strict=True):
            with atomic_path(path) as temporary:
                nibabel.save(nibabel.Nifti1Image(voxels, subject.affine), temporary)

    def _image(self, site: str, visit: Visit, subject: AtlasSubject) -> np.ndarray:
        """(X, Y, Z) int16, above 0 inside the brain."""
        rng = np.random.default_rng([self.seed, _number(site), visit.index])
        strengths = {
            kind: strength * float(np.exp(self.variation * rng.normal()))
            for kind, strength in self.scanners[site].items()
        }
        scanner = query_scanner(site, kind="mix", strength=strengths, seed=self.seed, percentile=self.percentile)
        labels = torch.from_numpy(subject.labels.astype(np.int16))
        image, scale = robust_scaled(torch.from_numpy(subject.image.astype(np.float32)), labels > 0, self.percentile)
        scan = Scan(Path(), visit.name, session=f"ses-{site}")
        made = scanner(Volume(scan, image, labels > 0, labels, subject.affine, scale))
        level = 600 * np.exp(rng.normal(0, 0.2))  # the arbitrary unit of a T1 image
        inside = (made.image.numpy() * level).round().clip(1)
        return np.where(subject.labels > 0, inside, 0).astype(np.int16)

    def _describe(self, site: str) -> None:
        """participants.tsv for everybody in the folder: a smaller call does not forget a larger one's subjects."""
        root = self._root(site)
        rows = ["participant_id\tage\tsex\tsite\tscanner"]
        for k in range(max(len(list(root.glob("sub-*"))), self.subjects)):
            visit = self._visit(site, k)
            who = person(self.seed, visit.index)
            rows.append(f"{visit.name}\t{who.age:.1f}\t{who.sex}\t{site}\tsimulated {site}")
        write_changed(root / "participants.tsv", "\n".join(rows) + "\n")
        about = {"Name": f"harmony simulated site {site}", "BIDSVersion": "1.9.0", "DatasetType": "raw"}
        write_changed(root / "dataset_description.json", json.dumps(about, indent=2) + "\n")


@functools.lru_cache(maxsize=1)
def _template(resolution: int) -> Template:
    """Loaded once for all sites of an experiment."""
    return Template(resolution)


def _number(site: str) -> int:
    """By name, not by place: another site in the list changes nobody."""
    return int.from_bytes(hashlib.sha256(site.encode()).digest()[:4], "little")
