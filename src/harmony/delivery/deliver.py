"""A whole call: every scan into the output folder, by one process or several, and a page over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony import __version__
from harmony.core import DataError, interrupts
from harmony.data.volumes.brain_extraction import may_find
from harmony.delivery.applied import Applied
from harmony.delivery.derivatives import Derivatives
from harmony.delivery.quality import entry
from harmony.delivery.request import Request
from harmony.delivery.scans import find_scans
from harmony.delivery.shared_queue import helpers, in_turn
from harmony.delivery.worker import Worker
from harmony.reports import quality_page


@dataclass(frozen=True)
class Outcome:
    """How a call went: scans harmonized, scans that were done, and those that could not be. page: of the output."""

    harmonized: int
    done: int
    bad: list[DataError]
    page: Path


def deliver(request: Request, applied: Applied, command: Sequence[str], *, helping: bool) -> Outcome | None:
    """Every scan of the request, one at a time; one that is done is left alone.

    command: what starts a further process of the same call. helping: this is one of those, which leaves the page and
    the last word to the process that started it. Raises DataError for a bad scan, unless those are skipped.
    """
    scans, bad = find_scans(request, applied.card.contrast)
    may_find(request.mask)  # a program that is not installed is said before anything is done
    worker = Worker(request, applied, Derivatives(request.output, request.method))
    worker.output.check(scans)
    worker.output.describe(version=__version__, source=request.source.resolve())
    further = 0 if helping else min(request.workers, len(scans)) - 1
    with helpers(command, max(further, 0)):
        for scan in in_turn(scans, worker.output.lock, "harmonizing"):
            try:
                worker.one(scan)
            except DataError as error:
                if not request.skip_bad:
                    raise
                bad.append(error)
            interrupts.check()
    if helping:
        return None
    page = worker.output.root / "quality.html"
    quality_page(page, [entry(result) for result in worker.output.results()], [error.public for error in bad])
    return Outcome(worker.harmonized, worker.done, bad, page)
