"""A bar where somebody watches, one log line where a file does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, track

log = logging.getLogger(__name__)
Item = TypeVar("Item")


def watched(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items, one by one, with a progress bar named `what` on a terminal and a single log line elsewhere."""
    if sys.stderr.isatty():
        return iter(track(items, what, console=_terminal(), transient=True))
    log.info("%s: %d", what, len(items))
    return iter(items)


@contextmanager
def within(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress within one item: on a terminal a bar of its own below, elsewhere nothing.

    The block is given a function that it tells how much more of `total` is done.
    """
    if not sys.stderr.isatty():
        yield lambda more: None
        return
    with Progress(console=_terminal(), transient=True) as bars:
        bar = bars.add_task(what, total=total)
        yield lambda more: bars.advance(bar, more)


@cache
def _terminal() -> Console:
    """One for all bars: they stand below each other only there."""
    return Console(stderr=True)
