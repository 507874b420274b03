"""A page to look through what was done to each scan: one HTML file, the scans that most want looking at first."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from torch import Tensor

from harmony.core.files import atomic_path, write_atomic
from harmony.reports.figures import upright

SCALE = 0.3  # of the change, either way
INSIDE = 50  # pictures that are in the page itself, 0.3 MB each; those of further scans are read from beside it


@dataclass(frozen=True)
class QualityEntry:
    """One result. change: mean absolute change inside the brain, in shares of the robust maximum; None where it is not
    known. figure: a PNG file. left_alone: why the scan was given back as it was, None where it was not. facts: what
    else there is to say, name and value. settings: what it was made with."""

    name: str
    change: float | None
    figure: Path
    left_alone: str | None = None
    facts: Sequence[tuple[str, str]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def before_after_figure(path: Path, before: Tensor, after: Tensor) -> None:
    """Three slices (a quarter, half, three quarters of the way): before, after, and the change on a scale of +-SCALE.

    before, after: (S, H, W) in [0, 1]. Small and its words large: on a phone three pictures share its width.
    """
    picks = [len(before) * k // 4 for k in (1, 2, 3)]
    figure = Figure(figsize=(4.8, 1.75 * len(picks)), layout="constrained")
    rows = figure.subplots(len(picks), 3, squeeze=False)
    for axes, k in zip(rows, picks, strict=True):
        axes[0].imshow(upright(before[k]), cmap="gray", vmin=0, vmax=1)
        axes[1].imshow(upright(after[k]), cmap="gray", vmin=0, vmax=1)
        axes[2].imshow(upright(after[k] - before[k]), cmap="RdBu_r", vmin=-SCALE, vmax=SCALE)
        axes[0].text(2, 2, f"slice {k}", fontsize=9, color="white", va="top")
        for axis in axes:
            axis.axis("off")
    for axis, name in zip(rows[0], ("before", "after", "change"), strict=True):
        axis.set_title(name, fontsize=11)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=180, format="png")


def quality_page(path: Path, entries: Sequence[QualityEntry], bad: Sequence[str]) -> None:
    """Write the page; `bad` are the messages of scans that could not be harmonized."""
    ordered = sorted(entries, key=lambda entry: (entry.left_alone is None, -(entry.change or 0), entry.name))
    pictures = [picture(entry.figure, path.parent, inside=k < INSIDE) for k, entry in enumerate(ordered)]
    environment = Environment(
        loader=PackageLoader("harmony", "reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("quality.html").render(
        title=f"harmony: {counted(len(entries), 'harmonized scan')}",
        summary=summary(entries, len(bad)),
        scans=[
            {
                **{name: getattr(entry, name) for name in ("name", "change", "left_alone", "facts")},
                "picture": each,
            }
            for entry, each in zip(ordered, pictures, strict=True)
        ],
        bad=bad,
        scale=f"{SCALE:.0%}",
        settings=alike(ordered),
    )
    write_atomic(path, page)


def summary(entries: Sequence[QualityEntry], bad: int) -> str:
    """What became of how many, in sentences."""
    alone = [entry.left_alone for entry in entries if entry.left_alone]
    said = [f"This folder holds {counted(len(entries), 'result')}."]
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
