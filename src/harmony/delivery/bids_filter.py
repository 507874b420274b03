"""Which scans of a BIDS folder are meant, as BIDS Apps are told it: `--bids-filter-file FILTER.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harmony.core import ConfigError, Scan

ENTITIES = {  # as a filter file names them -> as file names do
    "subject": "sub",
    "session": "ses",
    "task": "task",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "echo": "echo",
    "flip": "flip",
    "inv": "inv",
    "mt": "mt",
    "part": "part",
    "processing": "proc",
    "space": "space",
}
ANY = "*"  # whatever it is, there must be one


def read_filter(path: Path, contrast: str) -> dict[str, Any]:
    """The entities that scans of a contrast must have, of the section of that name: `{"t1w": {"session": "01"}}`.

    A value is a label, a number, a list of those, null (the scan must not have the entity) or "*" (it must).
    Raises ConfigError for what is no filter, has no section of the contrast, or names an entity that there is none of.
    """
    try:
        sections = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"bids_filter_file={path}: cannot be read ({error}) -> give a JSON file") from error
    wanted = sections.get(contrast.lower()) if isinstance(sections, dict) else None
    if not isinstance(wanted, dict):
        there = ", ".join(sections) if isinstance(sections, dict) else "no sections"
        raise ConfigError(
            f'bids_filter_file={path}: nothing about {contrast.lower()} ({there}) -> {{"{contrast.lower()}": {{...}}}}'
        )
    known = {*ENTITIES, "suffix", "datatype", "extension"}
    if strange := [name for name in wanted if name not in known]:
        raise ConfigError(f"bids_filter_file={path}: {strange[0]} is no entity; there are {', '.join(sorted(known))}")
    return wanted


def filtered(scans: Iterable[Scan], wanted: Mapping[str, Any]) -> list[Scan]:
    """Those that have all the entities. Raises ConfigError where none has."""
    scans = list(scans)
    left = [scan for scan in scans if all(_fits(_value(scan, name), want) for name, want in wanted.items())]
    if scans and not left:
        said = ", ".join(f"{name} {want!r}" for name, want in wanted.items())
        raise ConfigError(f"bids_filter_file: none of {len(scans)} scans has {said}; the first is {scans[0].path.name}")
    return left


def _value(scan: Scan, name: str) -> str | None:
    if name == "suffix":
        return scan.contrast
    if name == "datatype":
        return "anat"
    if name == "extension":
        return "".join(scan.path.suffixes[-2:])
    pairs = (word.partition("-") for word in scan.name.split("_"))
    return next((label for key, _, label in pairs if key == ENTITIES[name]), None)


def _fits(value: str | None, want: Any) -> bool:
    if isinstance(want, list):
        return any(_fits(value, one) for one in want)
    if want is None:
        return value is None
    if value is None:
        return False
    return want == ANY or _label(value) == _label(str(want))


def _label(text: str) -> str | int:
    """`ses-01` and `01` are one, and so are the runs 1 and 01."""
    key, _, label = text.partition("-")
    bare = label if key in ENTITIES.values() and label else text
    return int(bare) if bare.isdigit() else bare
