"""A whole call: every scan into the output, by one process or several, and a page over all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harmony import __version__
from harmony.core import DataError, interrupts
from harmony.data.volumes.brain_extraction import may_find
from harmony.delivery.applied import Applied
from harmony.delivery.derivatives import Derivatives
from harmony.delivery.output import Output
from harmony.delivery.quality import write_page
from harmony.delivery.request import Request
from harmony.delivery.scans import find_scans
from harmony.delivery.shared_queue import helpers, helping_since, in_turn
from harmony.delivery.single_file import SingleFile
from harmony.delivery.worker import UNITS, Worker


@dataclass(frozen=True)
class Outcome:
    """How a call went: scans harmonized by its processes, scans that were done before, and those that could not be.
    page: of the output; None where there is none."""

    harmonized: int
    done: int
    bad: list[DataError]
    page: Path | None


def deliver(request: Request, applied: Applied, command: Sequence[str]) -> Outcome | None:
    """Every scan of the request, one at a time; one that is done is left alone.

    command: what starts a further process of the same call. In such a process: None, as it leaves the page and the last
    word to the one that started it. Raises DataError for a bad scan, unless those are skipped.
    """
    since = helping_since()
    scans, bad = find_scans(request, applied.card.contrast)
    may_find(request.mask)  # a program that is not installed is said before anything is done
    output = output_of(request)
    output.check(scans)
    output.describe(version=__version__, sources=request.sources)
    if since is None:
        print(f"intensities: {UNITS[request.own_unit]} (original_scale={str(request.own_unit).lower()})", flush=True)
    worker = Worker(request, applied, output, time.time_ns() if since is None else since)
    further = 0 if since is not None else min(request.workers, len(scans)) - 1
    with helpers(command, max(further, 0), worker.begun):
        for scan in in_turn(scans, output.lock, "harmonizing"):
            try:
                worker.one(scan)
            except DataError as error:
                if not request.skip_bad:
                    raise
                bad.append(error)
            interrupts.check()
    if since is not None:
        return None
    return Outcome(worker.harmonized, worker.done, bad, write_page(output, bad))


def output_of(request: Request) -> Output:
    """A file where the request names one, else a folder of BIDS derivatives."""
    return SingleFile(request.output) if request.one_file else Derivatives(request.output, request.method)
