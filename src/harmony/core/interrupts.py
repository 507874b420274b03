"""SIGTERM and SIGINT as a flag that every long loop checks, never as work done inside the handler."""

from __future__ import annotations

import signal
from types import FrameType

_received: list[int] = []


class Interrupted(BaseException):
    """Raised by `check` after a signal. `exit_code` is the shell's: 143 for SIGTERM, 130 for SIGINT."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.exit_code = 128 + signum


def watch() -> None:
    """Take over SIGTERM and SIGINT. A second SIGINT stops at once."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _note)


def received() -> bool:
    return bool(_received)


def check() -> None:
    """Raise `Interrupted` if a signal has come."""
    if _received:
        raise Interrupted(_received[0])


def _note(signum: int, _: FrameType | None) -> None:
    if signum == signal.SIGINT and signum in _received:
        raise KeyboardInterrupt
    _received.append(signum)
