"""The page of a study: what may mislead, the verdict, the numbers behind it, and the scans that want looking at."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from harmony.core.files import write_atomic
from harmony.reports.kept import data_uri
from harmony.reports.quality import picture


@dataclass(frozen=True)
class StudyTable:
    """columns: their titles; rows: as many texts each. note: how to read it."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class StudyScan:
    """A scan that wants looking at. reason: what it has that the reference's scans have not. figure: a PNG file."""

    name: str
    site: str
    reason: str
    figure: Path


@dataclass(frozen=True)
class StudyPage:
    """warnings: what may mislead, before anything else. histograms: title -> site -> (B,) shares of brain voxels in
    bins of equal width over `span`, in units of white matter."""

    title: str
    warnings: Sequence[str]
    verdict: Sequence[str]
    tables: Sequence[StudyTable]
    histograms: Mapping[str, Mapping[str, np.ndarray]]
    span: tuple[float, float]
    scans: Sequence[StudyScan]
    bad: Sequence[str]


def study_page(path: Path, page: StudyPage) -> None:
    """Write one self-contained HTML file."""
    environment = Environment(
        loader=PackageLoader("harmony", "reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    scans = [
        {
            "name": scan.name,
            "site": scan.site,
            "reason": scan.reason,
            "picture": picture(scan.figure, path.parent, inside=True),
        }
        for scan in page.scans
    ]
    drawn = [(title, data_uri(histogram_figure(title, sites, page.span))) for title, sites in page.histograms.items()]
    write_atomic(path, environment.get_template("study.html").render(page=page, scans=scans, histograms=drawn))


def histogram_figure(title: str, sites: Mapping[str, np.ndarray], span: tuple[float, float]) -> bytes:
    """A PNG: the mean histogram of each site, a line each. As wide as a phone, for its words to be read there."""
    figure = Figure(figsize=(4.8, 2.8), layout="constrained")
    axes = figure.subplots()
    for site, counts in sites.items():
        edges = np.linspace(*span, len(counts) + 1)
        axes.plot((edges[1:] + edges[:-1]) / 2, counts, label=site)
    axes.set(title=title, xlabel="intensity over white matter", yticks=[], xlim=span)
    axes.legend(frameon=False, fontsize=9)
    png = io.BytesIO()
    figure.savefig(png, dpi=150, format="png")
    return png.getvalue()
