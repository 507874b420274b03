"""Signals as a flag that every long loop checks, never as work done inside the handler."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

_PREEMPTED = signal.SIGUSR2  # submitit's: the job's time is up, or a job of higher priority wants the machine
_GRACE = 600.0  # seconds; longer than schedulers give between SIGTERM and the kill
_received: list[int] = []
_requeue: list[Callable[..., Any]] = []


class Interrupted(BaseException):
    """Raised by `check` after a signal. `exit_code` is the shell's: 143 for SIGTERM, 130 for SIGINT."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.exit_code = signum, 128 + signum


def watch() -> None:
    """Take over SIGTERM and SIGINT, and the preemption signal where a launcher handles it. A second SIGINT stops at
    once."""
    former = signal.getsignal(_PREEMPTED)
    if callable(former) and former is not _note:
        _requeue[:] = [former]
        signal.signal(_PREEMPTED, _note)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _note)


def received() -> int:
    """The number of the first signal that has come; 0 if none."""
    return _received[0] if _received else 0


def check() -> None:
    """Raise `Interrupted` if a signal has come."""
    if _received:
        raise Interrupted(_received[0])


def requeue(stop: Interrupted) -> None:
    """For a job of a scheduler, once everything is saved: back into the queue.

    After the preemption signal the launcher's own handler does it, and exits. SIGTERM may be a preemption too, or a
    cancellation: SLURM knows which, and puts a job back only if it has to kill it.
    """
    if _requeue and stop.signum == _PREEMPTED:
        _requeue[0](_PREEMPTED, None)
    if _requeue and stop.signum == signal.SIGTERM:
        time.sleep(_GRACE)


def _note(signum: int, _: FrameType | None) -> None:
    if signum == signal.SIGINT and signum in _received:
        raise KeyboardInterrupt
    _received.append(signum)
