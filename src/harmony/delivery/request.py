"""What was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harmony.data.volumes.brain_extraction import AUTO

IMAGES = (".nii", ".nii.gz")  # endings of an output that is a file, not a folder


@dataclass(frozen=True)
class Request:
    """A call of `harmonize`, as plain values.

    sources: one or several scans, or the folder of a data set. output: the derivatives folder, or of one scan a file.
    settings: of the method. mask: a file, for several scans a pattern with {subject}, `auto` for one that deepbet finds
    where the skull is still on, `deepbet`, `synthstrip` or `hd-bet` for one that this program finds for every scan,
    None for none. participants, sessions: of a folder, only these; None for all. bids_filter:
    entities that the scans must have, as `--bids-filter-file` of BIDS Apps has them. workers: processes here, this one
    included. skip_done: leave alone what is there of the same scan, model and method. skip_bad: name a bad scan at the
    end, in place of stopping there. original_scale: in each scan's own intensity unit (True) or the reference's
    (False); None: of one scan its own, of several the reference's. bits_per_dim: score before and after under the flow.
    """

    sources: Sequence[Path]
    output: Path
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    mask: str | None = AUTO
    participants: Sequence[str] | None = None
    sessions: Sequence[str] | None = None
    bids_filter: Mapping[str, Any] | None = None
    workers: int = 1
    skip_done: bool = True
    skip_bad: bool = False
    original_scale: bool | None = None
    bits_per_dim: bool = False

    @property
    def several(self) -> bool:
        """Whether it is about more than one scan: a folder is, whatever is in it today."""
        return len(self.sources) > 1 or any(source.is_dir() for source in self.sources)

    @property
    def own_unit(self) -> bool:
        """Whether results are in their scan's own intensity unit; otherwise all are in the reference's."""
        return not self.several if self.original_scale is None else self.original_scale

    @property
    def one_file(self) -> bool:
        """Whether the output is a file."""
        return self.output.name.lower().endswith(IMAGES) and not self.output.is_dir()

    def source_of(self, path: Path) -> Path:
        """The source that a scan is from."""
        folders = (source for source in self.sources if path.is_relative_to(source))
        return next(folders, path)
