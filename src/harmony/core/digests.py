"""One digest over whatever decides a result: a file that is no longer what was written is noticed before it is used.

A JSON document carries its digest inside (`sealed`), any other file has it beside (`seal`), as `sha256sum` writes it.
What has none, because an older version wrote it, is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from harmony.core.errors import DamagedError
from harmony.core.files import write_atomic

KEY = "digest"
CONTENTS = "contents.json"  # of a finished run: the digests of all that lies in its folder
_NOT_CONTENTS = {CONTENTS, "summary.json", "DONE", "INTERRUPTED", "report.html"}  # sealed itself, empty, made anew
_LOGS = {"log", "wandb", "checkpoints"}
_BESIDE = ".sha256"


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON-like values and, under `KEY`, the SHA-256 of their canonical form (keys in order, no spaces)."""
    return {**values, KEY: _digest(values)}


def unsealed(values: Any, path: Path) -> dict[str, Any]:
    """The values as they were sealed. Raises DamagedError where they are others, or no JSON object."""
    if not isinstance(values, dict):
        raise DamagedError(path, "not a JSON object")
    own = {name: value for name, value in values.items() if name != KEY}
    if KEY in values and values[KEY] != _digest(own):
        raise DamagedError(path, "its values are not those that were written")
    return own


def read_sealed(path: Path, needs: Collection[str] = ()) -> dict[str, Any]:
    """A JSON document that `sealed` made. Raises OSError where it cannot be read, DamagedError where it is damaged or
    lacks one of the keys that it `needs`."""
    try:
        found = unsealed(json.loads(path.read_text(encoding="utf-8")), path)
    except (ValueError, RecursionError) as error:
        raise DamagedError(path, f"not JSON ({error})") from error
    missing = [name for name in needs if name not in found]
    if missing:
        raise DamagedError(path, f"there is no {missing[0]!r} in it")
    return found


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    write_atomic(path, json.dumps(sealed(values), indent=2) + "\n")


def read_yaml(path: Path) -> Any:
    """A YAML document. Raises OSError where it cannot be read, DamagedError where it is none."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise DamagedError(path, f"not YAML ({' '.join(str(error).split())})") from error


def write_contents(folder: Path) -> None:
    """The digests of the folder's files, but for logs and what is made anew."""
    files = {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(_contents(folder))}
    write_sealed(folder / CONTENTS, {"files": files})


def damaged_contents(folder: Path) -> list[str]:
    """Names of files that are missing, or not those that `write_contents` saw; the list itself where it is damaged."""
    try:
        said = read_sealed(folder / CONTENTS)["files"] if (folder / CONTENTS).exists() else {}
        return [name for name, digest in said.items() if not _is(folder / name, digest)]
    except (DamagedError, KeyError, AttributeError):
        return [CONTENTS]


def check_contents(folder: Path) -> None:
    """Raises DamagedError where a file is missing or another than it was when the run was finished."""
    for name in damaged_contents(folder):
        raise DamagedError(folder / name, "missing, or not what was written")


def seal(path: Path) -> None:
    """Write `<path>.sha256` for a file that has just been written."""
    write_atomic(_beside(path), f"{sha256(path)}  {path.name}\n")


def write_with_seal(path: Path, text: str) -> None:
    """A text with its seal. Killed in between, it has none: a seal is never that of a former content."""
    _beside(path).unlink(missing_ok=True)
    write_atomic(path, text)
    seal(path)


def check_seal(path: Path) -> None:
    """Raises DamagedError where the file has a seal, and is not the one that was sealed."""
    try:
        said = _beside(path).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        said = []
    if said[:1] != [sha256(path)]:
        raise DamagedError(path, f"not the file of its digest {_beside(path).name}")


def intact(path: Path) -> bool:
    """Whether the file is there and, if it has a seal, is the one that was sealed; else it is to be made again."""
    try:
        check_seal(path)
    except (DamagedError, OSError):
        return False
    return path.exists()


def intact_document(path: Path) -> bool:
    """Whether a JSON document is there, and is what was sealed."""
    try:
        read_sealed(path)
    except (DamagedError, OSError):
        return False
    return True


def _contents(folder: Path) -> list[Path]:
    found: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LOGS and not name.startswith(".")]
        top = Path(root) == folder
        found += [
            Path(root, name) for name in names if not name.startswith(".") and not (top and name in _NOT_CONTENTS)
        ]
    return found


def _is(path: Path, digest: str) -> bool:
    try:
        return sha256(path) == digest
    except OSError:
        return False


def _beside(path: Path) -> Path:
    return path.with_name(path.name + _BESIDE)


def _digest(values: Mapping[str, Any]) -> str:
    canonical = json.dumps(json.loads(json.dumps(dict(values))), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
