"""The picture of one result: three planes before and after, the change, and the reference's own beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from harmony.core.files import atomic_path

SCALE = 0.3  # of the change, either way
WIDTH = 4.8  # inches: small, and its words large, as on a phone four pictures share its width
TITLE, BELOW, GAP = 0.25, 1.75, 0.03  # inches above the planes, below them for the histograms, between pictures
OUTLINE = "#ffb000"
LINES = {"before": "#8a939c", "after": "#0072b2", "reference": "#1c2126"}


@dataclass(frozen=True)
class PlanePicture:
    """What one plane shows. ends: the words at its left and right edge. before, after: (R, C), 1 is the robust maximum,
    rows from the top down. mask: (R, C) bool. reference: (R, C) the mean of the reference's brains at the same place,
    None where nothing is known of it."""

    ends: tuple[str, str]
    before: np.ndarray
    after: np.ndarray
    mask: np.ndarray
    reference: np.ndarray | None


def before_after_figure(path: Path, planes: Sequence[PlanePicture], histograms: Mapping[str, np.ndarray]) -> None:
    """A row for each plane, and below them the histograms.

    The mask is outlined in the scan before. The change is on a scale of +-SCALE.
    histograms: `LINES` -> (B,) shares of the brain's voxels in bins of equal width from 0 to the robust maximum.
    """
    columns = 3 if planes[0].reference is None else 4
    cell = (WIDTH - GAP) / columns
    heights = [(cell - GAP) * len(plane.before) / plane.before.shape[1] for plane in planes]
    top = BELOW + sum(heights) + GAP * len(planes)
    figure = Figure(figsize=(WIDTH, top + TITLE))
    pictures = placed(figure, 0, 0, WIDTH, top + TITLE)
    pictures.set(xlim=(0, WIDTH), ylim=(0, top + TITLE))  # inches
    pictures.axis("off")
    for k, name in zip(range(columns), ("before", "after", "change", "reference"), strict=False):
        pictures.text(GAP + (k + 0.5) * cell, top + 0.05, name, fontsize=10, ha="center")
    for plane, height in zip(planes, heights, strict=True):
        extents = [(GAP + k * cell, (k + 1) * cell, top - height, top) for k in range(columns)]
        draw_plane(pictures, extents, plane)
        top -= height + GAP
    draw_histograms(placed(figure, 0.15, 0.42, WIDTH - 0.3, BELOW - 0.72), histograms)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def placed(figure: Figure, left: float, bottom: float, width: float, height: float) -> Any:
    """New axes, in inches from the lower left corner: a layout that is solved for takes longer than the drawing."""
    whole = figure.get_figheight()
    return figure.add_axes((left / WIDTH, bottom / whole, width / WIDTH, height / whole))


def draw_plane(axis: Any, extents: Sequence[tuple[float, float, float, float]], plane: PlanePicture) -> None:
    """Before with the mask's outline, after, change, and where it is known the reference, each in its place (left,
    right, bottom, top) of the same axes: axes of their own take longer than what is in them."""
    grey = [plane.before, plane.after, plane.reference]
    for extent, image in zip([extents[0], extents[1], *extents[3:]], grey, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto")
    change = plane.after - plane.before
    axis.imshow(change, cmap="RdBu_r", vmin=-SCALE, vmax=SCALE, extent=extents[2], aspect="auto")
    left, right, _, top = extents[0]
    if 0 < plane.mask.mean() < 1:
        outlined = plane.mask.astype(float)
        axis.contour(outlined, levels=[0.5], colors=OUTLINE, linewidths=0.6, extent=extents[0], origin="upper")
    for place, side, words in ((left + 0.03, "left", plane.ends[0]), (right - 0.03, "right", plane.ends[1])):
        axis.text(place, top - 0.03, words, fontsize=8, color="white", va="top", ha=side)


def draw_histograms(axis: Any, histograms: Mapping[str, np.ndarray]) -> None:
    for name, shares in histograms.items():
        edges = np.linspace(0, 1, len(shares) + 1)
        axis.plot((edges[1:] + edges[:-1]) / 2, shares, color=LINES[name], label=name, linewidth=1.2)
    axis.set(yticks=[], xlim=(0, 1), ylim=(0, None))
    axis.set_xlabel("intensity inside the mask, of the robust maximum", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(histograms))
    axis.spines[["top", "right", "left"]].set_visible(False)
