"""Which scans are meant."""

from __future__ import annotations

import os
from pathlib import Path

from harmony.core import ConfigError, DataError, Scan
from harmony.core.manifest import refuse_other_contrast
from harmony.data import BidsFolder, single_scan
from harmony.data.volumes.brain_extraction import may_find
from harmony.delivery.bids_filter import filtered
from harmony.delivery.request import Request
from harmony.delivery.words import own_words, translated


def find_scans(request: Request, contrast: str) -> tuple[list[Scan], list[DataError]]:
    """The scans of the files or of the BIDS folder, of the model's contrast, and the folder's bad ones, if they are to
    be skipped. Raises DataError or ConfigError, in the words of `harmonize`."""
    with own_words():
        if request.sources[0].is_dir() and len(request.sources) == 1:
            return _of_folder(request, contrast)
        return [_of_file(path, request, contrast) for path in request.sources], []


def _of_folder(request: Request, contrast: str) -> tuple[list[Scan], list[DataError]]:
    path = request.sources[0]
    if request.output.resolve() == path.resolve():
        raise ConfigError("output= is the input folder -> write into another, for example its derivatives/harmony")
    if request.one_file:
        raise ConfigError(f"output={request.output}: one file, and input= is a folder -> name a folder")
    mask = None if may_find(request.mask) else request.mask
    listing = BidsFolder(path, mask=mask, suffix=contrast, people=False).listing()
    scans, bad = listing.chosen(participants=request.participants, sessions=request.sessions, skip_bad=request.skip_bad)
    return scans if request.bids_filter is None else filtered(scans, request.bids_filter), [translated(e) for e in bad]


def _of_file(path: Path, request: Request, contrast: str) -> Scan:
    if path.is_dir():
        raise ConfigError(f"{path}: a folder among files -> harmonize a BIDS folder by itself")
    if not path.exists():
        raise DataError(_absent(path), cure="say which scan, or which BIDS folder, to harmonize: input=", path=path)
    scan = single_scan(path, None, otherwise=contrast)
    refuse_other_contrast(scan, contrast)
    if request.mask is None or may_find(request.mask):
        return scan
    return single_scan(path, _mask(request, scan), otherwise=contrast)


def _mask(request: Request, scan: Scan) -> Path:
    """The mask of a file. Raises DataError where it is not there, ConfigError where several scans would share it."""
    pattern = str(request.mask)
    if len(request.sources) > 1 and "{subject}" not in pattern:
        raise ConfigError(f"mask={pattern}: one mask for {len(request.sources)} scans -> a pattern with {{subject}}")
    path = Path(pattern.replace("{subject}", scan.subject).replace("{session}", scan.session or "")).expanduser()
    if not path.exists():
        raise DataError(f"the brain mask: {_absent(path)}", cure="correct mask=", path=path, subject=scan.subject)
    return path


def _absent(path: Path) -> str:
    if path.is_symlink():
        return f"a link to {os.readlink(path)}, which is not there"
    return "no such file or folder"
