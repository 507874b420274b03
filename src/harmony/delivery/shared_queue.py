"""Several processes on one list of scans, here or on several machines: each takes what no other has in hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from harmony.core import interrupts
from harmony.core.locks import claim
from harmony.core.progress import watched

Item = TypeVar("Item")
SECONDS = 0.5  # between two looks at what others have in hand
SINCE = "HARMONY_HELPING_SINCE"  # of a process that another one started: when the call began (ns since 1970)


def in_turn(items: Sequence[Item], lock: Callable[[Item], Path], what: str) -> Iterator[Item]:
    """Every item, held while the caller works on it: first those that are free, at the end those that others had.

    An item that another process had in hand comes too, once that one is through with it or has died: the caller finds
    it done, or does it. `what` names the work on screen.
    """
    held = []
    for item in watched(items, what):
        with claim(lock(item), wait=False) as mine:
            if mine:
                yield item
            else:
                held.append(item)
    while held:
        interrupts.check()
        left = []
        for item in held:
            with claim(lock(item), wait=False) as mine:
                if mine:
                    yield item
                else:
                    left.append(item)
        held = left
        if held:
            time.sleep(SECONDS)


def helping_since() -> int | None:
    """In a process that `helpers` started: when the call began. None in one that a user started."""
    since = os.environ.get(SINCE)
    return None if since is None else int(since)


@contextmanager
def helpers(command: Sequence[str], count: int, begun: int) -> Iterator[None]:
    """`count` more processes of a command while the block runs, then wait for them; they are stopped if it fails.
    They know that they help, and when the call began (`helping_since`).

    What one says on stderr is shown only if it fails. One that was killed has failed at nothing that others cannot
    do: the block comes to its scans in the end.
    """
    threads = str(max(1, (os.cpu_count() or 1) // (count + 1)))
    environment = {"OMP_NUM_THREADS": threads} | os.environ | {SINCE: str(begun)}
    with tempfile.TemporaryDirectory() as folder:
        started: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        ended_well = False
        try:
            for number in range(count):
                said: IO[bytes] = (Path(folder) / str(number)).open("w+b")
                started.append((subprocess.Popen(command, env=environment, stderr=said), said))
            yield
            while any(process.poll() is None for process, _ in started):
                interrupts.check()
                time.sleep(SECONDS)
            ended_well = True
        finally:
            for process, said in started:
                _end(process, said, told=ended_well)


def _end(process: subprocess.Popen[bytes], said: IO[bytes], *, told: bool) -> None:
    """Stop what still runs; `told`: say how it ended if it was not well."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait()
    elif told and process.returncode < 0:
        print(f"one of the processes was ended by {signal.Signals(-process.returncode).name}", file=sys.stderr)
    elif told and process.returncode:
        said.seek(0)
        print(said.read().decode(errors="replace"), end="", file=sys.stderr)
    said.close()
