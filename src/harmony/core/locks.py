"""One process at a time on a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOLCK, ENOSYS, ENOTSUP
from pathlib import Path

from filelock import FileLock, Timeout

from harmony.core import interrupts

_SECONDS = 0.5  # between two tries


@contextmanager
def claim(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock file `path` (made if need be) while the block runs; the kernel frees it when the process dies.

    Yields True. Where another living process holds it: with `wait`, first waits for that one (and can be interrupted);
    without, yields False. A file system that has no locks yields True to everybody.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive a killed process
    mine = _taken(lock)
    if not mine and wait:
        print(f"waiting for another process that works in {path.parent}", flush=True)
        lock.acquire(poll_interval=_SECONDS, cancel_check=_interrupted)
        mine = True
    try:
        yield mine
    finally:
        lock.release()


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except OSError as error:
        if error.errno not in (ENOLCK, ENOSYS, ENOTSUP):
            raise
    return True


def _interrupted() -> bool:
    """Between two tries: a signal ends the waiting."""
    interrupts.check()
    return False
