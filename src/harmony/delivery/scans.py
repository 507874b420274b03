"""Which scans are meant."""

from __future__ import annotations

from pathlib import Path

from harmony.core import ConfigError, DataError, Scan
from harmony.core.manifest import refuse_other_contrast
from harmony.data import BidsFolder, single_scan
from harmony.data.volumes.brain_extraction import may_find
from harmony.delivery.request import Request


def find_scans(request: Request, contrast: str) -> tuple[list[Scan], list[DataError]]:
    """The scans of a file or of a BIDS folder, of the model's contrast, and the folder's bad ones, if they are to be
    skipped."""
    path, mask = request.source, None if may_find(request.mask) else request.mask
    if path.is_dir():
        if request.output.resolve() == path.resolve():
            raise ConfigError("output= is the input folder -> write into another, for example its derivatives/harmony")
        listing = BidsFolder(path, mask=mask, suffix=contrast, people=False).listing()
        return listing.chosen(participants=request.participants, sessions=request.sessions, skip_bad=request.skip_bad)
    if not path.exists():
        raise DataError("no such file or folder", cure="say which scan or BIDS folder to harmonize: input=", path=path)
    scan = single_scan(path, Path(mask).expanduser() if mask else None, otherwise=contrast)
    refuse_other_contrast(scan, contrast)
    return [scan], []
