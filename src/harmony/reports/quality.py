"""A page to look through what was done to each scan: one HTML file, the scans that most want looking at first."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harmony.core.files import write_atomic
from harmony.reports.before_after import SCALE

MISSED = 0.01  # of the mask: from here on a scan is said to be harmonized in part
INSIDE = 50  # pictures that are in the page itself, 0.3 MB each; those of further scans are read from beside it


@dataclass(frozen=True)
class QualityEntry:
    """One result. change: mean absolute change inside the brain, in shares of the robust maximum; None where it is not
    known. figure: a PNG file. left_alone: why the scan was given back as it was, None where it was not. warnings: what
    stands against trusting the result. missed: share of the brain mask that was not harmonized. remarks: what a reader
    should know of the scan. facts: what else there is to say, name and value. settings: what it was made with."""

    name: str
    change: float | None
    figure: Path
    left_alone: str | None = None
    warnings: Sequence[str] = ()
    missed: float = 0.0
    remarks: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def incomplete(self) -> bool:
        return self.missed >= MISSED

    @property
    def state(self) -> str:
        """In a word or two; nothing of a scan that was harmonized without more ado."""
        if self.warnings:
            return "warning"
        if self.incomplete:
            return "incomplete"
        return "left alone" if self.left_alone else ""


def quality_page(path: Path, entries: Sequence[QualityEntry], bad: Sequence[str]) -> None:
    """Write the page; `bad` are the messages of scans that could not be harmonized."""
    ordered = sorted(entries, key=worst_first)
    pictures = [picture(entry.figure, path.parent, inside=k < INSIDE) for k, entry in enumerate(ordered)]
    environment = Environment(
        loader=PackageLoader("harmony", "reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("quality.html").render(
        title=f"harmony: {counted(len(entries), 'harmonized scan')}",
        summary=summary(entries, len(bad)),
        scans=[{"entry": entry, "picture": each} for entry, each in zip(ordered, pictures, strict=True)],
        bad=bad,
        scale=f"{SCALE:.0%}",
        settings=alike(ordered),
    )
    write_atomic(path, page)


def worst_first(entry: QualityEntry) -> tuple[bool, bool, bool, float, str]:
    return not entry.warnings, not entry.incomplete, entry.left_alone is None, -(entry.change or 0), entry.name


def summary(entries: Sequence[QualityEntry], bad: int) -> str:
    """What became of how many, in sentences."""
    alone = [entry.left_alone for entry in entries if entry.left_alone]
    said = [f"This folder holds {counted(len(entries), 'result')}."]
    if doubtful := sum(bool(entry.warnings) for entry in entries):
        said.append(f"{counted(doubtful, 'scan')} with a warning.")
    if incomplete := sum(entry.incomplete for entry in entries):
        said.append(f"{counted(incomplete, 'scan')} harmonized in part.")
    if alone:
        reasons = dict.fromkeys(alone)
        said += [f"{counted(alone.count(reason), 'scan')} left alone, as {reason}." for reason in reasons]
    if bad:
        said.append(f"{counted(bad, 'scan')} could not be harmonized.")
    return " ".join(said)


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def alike(entries: Sequence[QualityEntry]) -> list[tuple[list[str], Mapping[str, Any]]]:
    """The different settings, each with the scans that were made with them."""
    groups: dict[str, tuple[list[str], Mapping[str, Any]]] = {}
    for entry in entries:
        names, _ = groups.setdefault(json.dumps(entry.settings, sort_keys=True), ([], entry.settings))
        names.append(entry.name)
    return list(groups.values())


def picture(figure: Path, page: Path, *, inside: bool) -> str | None:
    """The address of a picture: its bytes, or the file as it lies below the page's folder."""
    if not figure.exists():
        return None
    if not inside:
        return figure.relative_to(page).as_posix()
    return f"data:image/png;base64,{base64.b64encode(figure.read_bytes()).decode()}"
