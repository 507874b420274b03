"""A bar where somebody watches, one log line where a file does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

log = logging.getLogger(__name__)
Item = TypeVar("Item")


def watched(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items, one by one, with a progress bar named `what` on a terminal and a single log line elsewhere."""
    if sys.stderr.isatty():
        return iter(track(items, what, console=Console(stderr=True), transient=True))
    log.info("%s: %d", what, len(items))
    return iter(items)
