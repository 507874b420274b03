"""A reference scanner from its scans, without training: python -m harmony.reference input=SCANS output=NAME.harmony"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from harmony import app
from harmony.core import ConfigError, DataError, Scan
from harmony.core.contrasts import T1W, refuse_other_contrast
from harmony.core.packed_model import SUFFIX, About
from harmony.data import BidsFolder, single_scan
from harmony.data.sources.folders import visible
from harmony.data.volumes.brain_extraction import may_find


def reference(cfg: DictConfig) -> None:
    """Learn the scanner of `input` and write it as a packed model."""
    out = Path(cfg.output).expanduser()
    if out.suffix != SUFFIX:
        raise ConfigError(f"output={cfg.output}: a model is a file NAME{SUFFIX} -> output={out.stem}{SUFFIX}")
    scans = scans_of(Path(cfg.input).expanduser(), cfg.mask, cfg.participants)
    about = About(re.sub(r"[^\w.-]+", "-", out.stem), cfg.licence, cfg.scans)
    manifest = app.learn_reference(cfg, scans, out, about)
    people = manifest.training["subjects"]
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {people} people; licence: {manifest.licence}")
    print(f"methods: {', '.join(manifest.methods)}: harmony harmonize scan.nii.gz out --model {out} --method ...")


def scans_of(path: Path, mask: str | None, participants: Sequence[str] | None) -> list[Scan]:
    """Those of a BIDS folder, or the files of another. Raises DataError where there are none, and for a file whose name
    says another contrast."""
    if not path.is_dir():
        raise DataError("no such folder", cure="say where the scans of the reference scanner are: input=", path=path)
    if any(path.glob("sub-*/")):
        listing = BidsFolder(path, mask=None if may_find(mask) else mask).listing()
        return listing.chosen(participants=participants, sessions=None, skip_bad=False)[0]
    scans = [single_scan(file, None) for file in visible([*path.glob("*.nii"), *path.glob("*.nii.gz")])]
    if not scans:
        raise DataError("no scans in it", cure="give a BIDS folder, or a folder with files .nii or .nii.gz", path=path)
    for scan in scans:
        refuse_other_contrast(scan, T1W)
    return scans


main = app.entry_point(reference, config="reference")

if __name__ == "__main__":
    main()
