"""What was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harmony.data.volumes.brain_extraction import AUTO


@dataclass(frozen=True)
class Request:
    """A call of `harmonize`, as plain values.

    source: a scan, or the folder of a data set. output: the derivatives folder. settings: of the method. mask: a file,
    for a folder a pattern with {subject}, `auto` for one that deepbet finds where the skull is still on, `deepbet`,
    `synthstrip` or `hd-bet` for one that this program finds for every scan, None for none.
    participants, sessions: of a folder, only these; None for all. workers: processes here, this one included.
    skip_done: leave alone what is there of the same scan, model and method. skip_bad: name a bad scan at the end, in
    place of stopping there. original_scale: in each scan's own intensity units, not in those of its robust maximum.
    """

    source: Path
    output: Path
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    mask: str | None = AUTO
    participants: Sequence[str] | None = None
    sessions: Sequence[str] | None = None
    workers: int = 1
    skip_done: bool = True
    skip_bad: bool = False
    original_scale: bool = True
