"""A reference scanner from its scans, without training: python -m harmony.reference input=SCANS output=NAME.harmony"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from harmony import app
from harmony.app.references import learn_reference
from harmony.core import ConfigError, DataError, Scan
from harmony.core.contrasts import T1W
from harmony.core.manifest import refuse_other_contrast
from harmony.core.packed_model import SUFFIX, About
from harmony.data import BidsFolder, single_scan
from harmony.data.sources.folders import visible
from harmony.data.volumes.brain_extraction import may_find


def reference(cfg: DictConfig) -> None:
    """Learn the scanner of `input` and write it as a packed model."""
    out = Path(cfg.output).expanduser()
    if out.suffix != SUFFIX:
        raise ConfigError(f"output={cfg.output}: a model is a file NAME{SUFFIX} -> output={out.stem}{SUFFIX}")
    given = app.plain(cfg)["input"]
    paths = [Path(one).expanduser() for one in (given if isinstance(given, list) else [given])]
    scans = scans_of(paths, cfg.mask, cfg.participants)
    about = About(re.sub(r"[^\w.-]+", "-", out.stem), cfg.licence, cfg.scans)
    manifest = learn_reference(cfg, scans, out, about)
    people = manifest.training["subjects"]
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {people} people; licence: {manifest.licence}")
    print(f"methods: {', '.join(manifest.methods)}: harmony harmonize scan.nii.gz out --model {out} --method ...")


def scans_of(paths: Sequence[Path], mask: str | None, participants: Sequence[str] | None) -> list[Scan]:
    """Those of a BIDS folder, the files of another folder, or the files. Raises DataError where there are none, for a
    file whose name says another contrast, and for two scans of one name."""
    first = paths[0]
    if len(paths) == 1 and any(first.glob("sub-*/")):
        listing = BidsFolder(first, mask=None if may_find(mask) else mask).listing()
        return listing.chosen(participants=participants, sessions=None, skip_bad=False)[0]
    files = visible([*first.glob("*.nii"), *first.glob("*.nii.gz")]) if first.is_dir() else list(paths)
    if not files:
        raise DataError("no scans in it", cure="give a BIDS folder, or a folder with files .nii or .nii.gz", path=first)
    scans: dict[str, Scan] = {}
    for scan in (single_scan(file, None) for file in files):
        refuse_other_contrast(scan, T1W)
        if scans.setdefault(scan.name, scan) is not scan:
            raise DataError(f"{scan.name} is there twice", cure="give each scan its own name", path=scan.path)
    return list(scans.values())


main = app.entry_point(reference, config="reference")

if __name__ == "__main__":
    main()
