"""What an evaluation draws and keeps of a case besides its rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from harmony.core import Harmonized, Volume
from harmony.evaluation.cases import ScoredSlices
from harmony.reports import Overlay, Panel, comparison_figure, keep, overlay_figure, trajectory_figure


def keep_case(
    run: Path,
    domain: str,
    slices: ScoredSlices,
    outcomes: Mapping[str, Harmonized],
    *,
    labels: Mapping[str, Tensor] | None,
    beside: Volume,
) -> None:
    """Histograms of every case. Pictures of one slice where it is drawn: `labels`, the label map of each image by name,
    is then a mapping, empty without a segmentation judge. beside: a reference scan, drawn where there is no truth."""
    shown, name = slices.shown, slices.known.name
    keep(run, domain, name, slices.query, slices.truth, outcomes, shown=shown, panels=labels is not None)
    if labels is None:
        return
    path = run / "figures" / f"{domain}-{name}.png"
    draw(path, f"{domain}, {name}", slices, shown, outcomes, beside)
    if labels:
        draw_labels(path.with_stem(f"{path.stem}-labels"), f"{domain}, {name}", slices, shown, outcomes, labels)


def draw(
    path: Path, title: str, slices: ScoredSlices, shown: int, outcomes: Mapping[str, Harmonized], beside: Volume
) -> None:
    """Every method's image, with the truth where there is one; and the traces of those that iterate."""
    same_place = round(float(slices.query.position[shown]) * (len(beside.image) - 1))
    comparison_figure(
        path,
        slices.query.image[shown, 0],
        [Panel(name, outcome.image[shown, 0]) for name, outcome in outcomes.items()],
        truth=None if slices.truth is None else slices.truth.image[shown, 0],
        beside=Panel("a reference\nscan", beside.image[same_place]),
        lesions=None if slices.lesions is None else slices.lesions[shown],
        title=title + (", lesions outlined" if slices.lesions is not None else ""),
    )
    traces = {name: outcome.trace for name, outcome in outcomes.items() if outcome.trace}
    if traces:
        trajectory_figure(path.with_stem(f"{path.stem}-trajectories"), traces, title=title)


def draw_labels(
    path: Path,
    title: str,
    slices: ScoredSlices,
    shown: int,
    outcomes: Mapping[str, Harmonized],
    labels: Mapping[str, Tensor],
) -> None:
    """The structures that the segmentation judge sees in the query and in each method's image."""
    images = {name: outcome.image for name, outcome in outcomes.items()} | {"query": slices.query.image}
    overlays = [Overlay(name, images[name][shown, 0], found[shown]) for name, found in labels.items()]
    true = slices.known.labels
    legend = "as segmented" if true is None else "as segmented (thick), true (thin)"
    overlay_figure(path, overlays, truth=None if true is None else true[shown], title=f"{title}: {legend}")
