"""One process at a time on a folder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harmony.core import interrupts

_SECONDS = 0.5  # between two tries


@contextmanager
def claim(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock file `path` (made if need be) while the block runs; the kernel frees it when the process dies.

    Yields True. Where another living process holds it: with `wait`, first waits for that one (and can be interrupted);
    without, yields False. A file system that has no locks yields True to everybody.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        mine = _try(file.fileno())
        if not mine and wait:
            print(f"waiting for another process that works in {path.parent}", flush=True)
            while not _try(file.fileno()):
                interrupts.check()
                time.sleep(_SECONDS)
            mine = True
        yield mine


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks on this file system
        return True
    return True
