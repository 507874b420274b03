"""Pictures of what a method did to an image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from harmony.core import Row, by_subject
from harmony.core.curves import Curves
from harmony.core.files import atomic_path
from harmony.core.vocabulary import describe


class Panel(NamedTuple):
    """A method's name and its slice (H, W)."""

    name: str
    image: Tensor


class Overlay(NamedTuple):
    """A method's name, its slice (H, W), and the label map that a judge saw in it (H, W)."""

    name: str
    image: Tensor
    labels: Tensor


def comparison_figure(
    path: Path,
    query: Tensor,
    panels: Sequence[Panel],
    *,
    title: str,
    truth: Tensor | None = None,
    beside: Panel | None = None,
    lesions: Tensor | None = None,
) -> None:
    """Top row: query, every method's result, truth. Bottom row: each minus the truth, on one colour scale of +-0.3.

    Without a truth: `beside`, a slice of somebody else, takes its place for the eye, and each minus the query is shown.
    lesions: (H, W) bool of the query's subject, outlined.
    """
    methods = [panel for panel in panels if panel.name != "none"]
    last = Panel("truth", truth) if truth is not None else beside
    columns = [Panel("query", query), *methods, *([last] if last else [])]
    base, changed = (query, methods) if truth is None else (truth, columns[:-1])
    figure = Figure(figsize=(1.9 * len(columns), 4.9), layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False)
    shown = None
    for k, (name, image) in enumerate(columns):
        axes[0, k].imshow(upright(image), cmap="gray", vmin=0, vmax=1)
        axes[0, k].set_title(name.replace("_", "\n"), fontsize=9)
        if lesions is not None and lesions.any() and columns[k] is not beside:
            axes[0, k].contour(upright(lesions).astype(float), levels=[0.5], colors="gold", linewidths=0.7)
        if any(columns[k] is panel for panel in changed):
            difference = upright(image - base)
            shown = axes[1, k].imshow(difference, cmap="RdBu_r", vmin=-0.3, vmax=0.3)
            axes[1, k].set_title(f"rmse {float((difference**2).mean() ** 0.5):.3f}", fontsize=8)
    for axis in axes.flat:
        axis.axis("off")
    if shown is not None:
        figure.colorbar(
            shown, ax=axes[1, :].tolist(), shrink=0.8, label="minus query" if truth is None else "minus truth"
        )
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def trajectory_figure(path: Path, traces: dict[str, dict[str, Tensor]], *, title: str) -> None:
    """One panel per traced quantity, one line per method: the mean over slices against the iteration.

    Fallbacks are drawn only where there was one.
    """
    seen = {name: trace[name] for trace in traces.values() for name in trace if trace[name].isfinite().any()}
    names = [name for name in seen if name != "fallback" or any(t[name].any() for t in traces.values() if name in t)]
    figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for k, (method, trace) in enumerate(traces.items()):
            if name in trace and trace[name].isfinite().any():
                steps = np.arange(1, len(trace[name]) + 1)
                axis.plot(steps, trace[name].mean(1), label=method, linewidth=1.2, color=f"C{k}")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("iteration", fontsize=8)
        axis.tick_params(labelsize=7)
    figure.axes[0].legend(fontsize=7)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


class AdaptationCurves(NamedTuple):
    """curves: quantity -> its value after every pass, pass 0 first. kept: the pass in use."""

    curves: dict[str, list[float]]
    kept: int


def adaptation_figure(path: Path, records: dict[str, AdaptationCurves], *, title: str) -> None:
    """One panel per quantity, one line per method over the passes; a dot on the pass that was kept."""
    first = next(iter(records.values())).curves
    names = [name for name in first if any(np.isfinite(each.curves[name]).any() for each in records.values())]
    figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for k, (method, (curves, kept)) in enumerate(records.items()):
            values = curves[name]
            axis.plot(range(len(values)), values, label=method, linewidth=1.2, color=f"C{k}")
            axis.plot(kept, values[kept], "o", color=f"C{k}", markersize=4)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.set_xlabel("pass", fontsize=8)
        axis.tick_params(labelsize=7)
    figure.axes[0].legend(fontsize=7)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def curves_figure(path: Path, curves: Curves, *, title: str) -> None:
    """One panel per quantity, its training and validation curve ("task/train_x", "task/val_x") in it."""
    panels: dict[str, list[str]] = defaultdict(list)
    for metric in sorted(curves):
        panels[metric.split("/")[-1].removeprefix("train_").removeprefix("val_")].append(metric)
    figure = Figure(figsize=(3.2 * len(panels), 2.8), layout="constrained")
    for axis, (quantity, metrics) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for metric in metrics:
            held_out = "/val_" in metric
            steps, values = zip(*curves[metric], strict=True)
            label = "held-out subjects" if held_out else "last training batch"
            axis.plot(steps, values, label=label, linewidth=1.4 if held_out else 0.7, color="C0" if held_out else "C7")
        axis.set_title(quantity.replace("_", " "), fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=7)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def box_figure(path: Path, rows: Sequence[Row], metric: str, *, title: str) -> None:
    """A panel per domain, a box per method over its subjects: median, quartiles, whiskers to the ends, every point."""
    values: dict[str, dict[str, list[float]]] = {}
    for (method, domain, _), found in by_subject(row for row in rows if row.metric == metric).items():
        values.setdefault(domain, {})[method] = list(found.values())
    names = list(dict.fromkeys(name for methods in values.values() for name in methods))
    columns = min(len(values), 5)
    lines = -(-len(values) // columns)
    figure = Figure(figsize=(2 + 2.4 * columns, (0.8 + 0.2 * len(names)) * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axis, (domain, methods) in zip(axes.flat, values.items(), strict=False):
        drawn = [methods.get(name, []) for name in names]
        axis.boxplot(drawn, whis=(0, 100), orientation="horizontal", manage_ticks=False)
        for k, points in enumerate(drawn, start=1):
            axis.plot(points, [k] * len(points), ".", color="C0", alpha=0.5, markersize=4)
        axis.set_title(domain, fontsize=9)
        axis.tick_params(labelsize=7, labelbottom=True)
        axis.grid(axis="x", alpha=0.3)
    axes[0, 0].set_yticks(range(1, len(names) + 1), [name.replace("_", " ") for name in names])
    axes[0, 0].set_ylim(len(names) + 0.6, 0.4)  # the first method at the top, in all of them
    for axis in axes.flat[len(values) :]:
        axis.axis("off")
    figure.supxlabel(describe(metric).label, fontsize=9)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def overlay_figure(path: Path, overlays: Sequence[Overlay], *, title: str, truth: Tensor | None = None) -> None:
    """Each image's slice with the borders of the structures found in it; the true ones (H, W) as thin white lines."""
    columns = min(len(overlays), 6)
    lines = -(-len(overlays) // columns)
    figure = Figure(figsize=(2.6 * columns, 0.3 + 2.9 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    maps = [truth] if truth is not None else [overlay.labels for overlay in overlays]
    structures = sorted({int(value) for labels in maps for value in labels.unique() if value > 0})
    for axis in axes:
        axis.axis("off")
    for axis, (name, image, labels) in zip(axes, overlays, strict=False):
        axis.imshow(upright(image), cmap="gray", vmin=0, vmax=1)
        for k, value in enumerate(structures):
            true = [] if truth is None else [(truth, "white", 0.4)]
            for drawn, color, width in [(labels, f"C{k}", 1.2), *true]:
                border = upright(drawn == value).astype(float)
                if 0 < border.mean() < 1:
                    axis.contour(border, levels=[0.5], colors=color, linewidths=width)
        axis.set_title(name.replace("_", "\n"), fontsize=9)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def upright(image: Tensor) -> np.ndarray:
    """(H, W) with H left-right and W back-front (or bottom-top) -> rows from the top of the picture down."""
    return image.T.flip(0).cpu().numpy()


def save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
