"""OASIS-3 (TrioTim reference, travelling subjects on four other scanners), the data of BlindHarmony."""

from __future__ import annotations

from pathlib import Path

from harmony.core import DataError, Scan


class Oasis3:
    """A placeholder: the reader is not written yet, and the data needs a personal agreement."""

    def __init__(self, root: str | Path | None) -> None:
        self.root = root

    def scans(self) -> list[Scan]:
        raise DataError(
            "OASIS-3 is not read directly: sessions and scanners are not matched to subjects yet",
            cure="skull-strip, arrange one T1w per subject and session as BIDS, then data=bids data.root=/path/to/bids",
            path=self.root,
        )
