"""What was measured of a study's scans, kept beside them: a study that goes on measures nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harmony.cohort.measures import Measured
from harmony.cohort.telling import AFTER, BEFORE
from harmony.core import DamagedError, Row, Scan
from harmony.core.digests import read_sealed, write_sealed


@dataclass(frozen=True)
class ScanRecord:
    """A scan of a site, measured before and after. part: the folder of the output that it is in."""

    part: str
    scan: Scan
    before: Measured
    after: Measured

    def rows(self) -> list[Row]:
        """A row for each metric, before and after; the domain is the site."""
        return [
            Row(when, self.scan.site or "", self.scan.subject, metric, value, self.scan.name)
            for when, measured in ((BEFORE, self.before), (AFTER, self.after))
            for metric, value in measured.values.items()
        ]


def recorded(
    path: Path, part: str, scan: Scan, made_from: Mapping[str, Any], measure: Callable[[], tuple[Measured, Measured]]
) -> ScanRecord:
    """What stands at `path`, if it was measured of the same files; else measured, and kept there."""
    try:
        former = read_sealed(path)
        if former["made_from"] == dict(made_from):
            return ScanRecord(part, scan, Measured(**former[BEFORE]), Measured(**former[AFTER]))
    except (OSError, DamagedError, KeyError, TypeError):
        pass  # not there, or not what was written: measured anew
    before, after = measure()
    write_sealed(path, {"made_from": dict(made_from), BEFORE: asdict(before), AFTER: asdict(after)})
    return ScanRecord(part, scan, before, after)


def mean_histograms(records: Sequence[ScanRecord]) -> dict[str, dict[str, np.ndarray]]:
    """before, after -> site -> (BINS,) mean of its scans."""
    shares: dict[str, dict[str, list[list[float]]]] = {BEFORE: {}, AFTER: {}}
    for record in records:
        for when, measured in ((BEFORE, record.before), (AFTER, record.after)):
            shares[when].setdefault(record.scan.site or "", []).append(measured.histogram)
    return {when: {site: np.mean(own, axis=0) for site, own in sites.items()} for when, sites in shares.items()}
