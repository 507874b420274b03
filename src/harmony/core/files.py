"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harmony.core.errors import StorageError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE, errno.EACCES, errno.EPERM}
_TEMPORARY = ".tmp-"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` with the same suffixes, renamed onto it when the block ends well.

    The file has the mode that the user's umask gives a new file, whatever writes it. It is locked as long as it is
    being written: see `remove_leftovers`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = _create(path)
    except OSError as error:
        raise StorageError(path, error.strerror or str(error)) from error
    mode = os.fstat(handle).st_mode & 0o777
    try:
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    except Exception as error:
        problem = _storage(error)
        if problem is None:
            raise
        raise StorageError(path, problem) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        os.close(handle)


def write_atomic(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_changed(path: Path, text: str) -> None:
    """Leaves a file alone that says the same already."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed processes left of `path`, of a folder: of all below it; those of a living
    one are locked, and stay."""
    of_one = path.parent.glob(f"{glob.escape(_prefix(path))}*")
    for leftover in path.rglob(f"{_TEMPORARY}*") if path.is_dir() else of_one:
        try:
            handle = os.open(leftover, os.O_RDWR)
        except OSError:  # another process was faster, or it is not ours to open
            continue
        if _locked(handle, fcntl.LOCK_NB):
            leftover.unlink(missing_ok=True)
        os.close(handle)


def _storage(error: Exception) -> str | None:
    """What the disk said, whichever library was writing; None for an error that is not the disk's."""
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno in _DISK else None
    said = re.search(r"os error (\d+)", str(error))  # of safetensors, which is not Python
    if said:
        return os.strerror(int(said[1]))
    unwritten = ("PytorchStreamWriter failed", "inline_container.cc")  # of torch.save
    return "cannot be written: is the disk full?" if any(each in str(error) for each in unwritten) else None


def _create(path: Path) -> tuple[Path, int]:
    """A new file of the user's umask, and its open, locked descriptor."""
    while True:
        name = f"{_prefix(path)}{secrets.token_hex(4)}{''.join(path.suffixes[-2:])}"
        temporary = path.parent / name
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        _locked(handle)
        if temporary.exists():  # else somebody took it for a leftover before it was locked
            return temporary, handle
        os.close(handle)


def _prefix(path: Path) -> str:
    return f"{_TEMPORARY}{path.name.split('.')[0]}-"


def _locked(handle: int, flags: int = 0) -> bool:
    """Whether the lock could be had. Where the file system has none, nobody gets it, and leftovers stay."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | flags)
    except OSError:
        return False
    return True
