"""What an evaluation shows besides its rows: figures in its folder, pictures and tables in the experiment's log."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig

from harmony import app, judging
from harmony.core import Harmonized, Row, Volume
from harmony.core.runs import RunFolder
from harmony.domains import Slices
from harmony.reports import (
    Overlay,
    Panel,
    comparison_figure,
    overlay_figure,
    read_brain,
    read_panels,
    result_table,
    trajectory_figure,
)


def draw(run: RunFolder, domain: str, slices: Slices, outcomes: dict[str, Harmonized], beside: Volume) -> None:
    shown, subject = slices.shown, slices.known.name
    panels = [Panel(name, outcome.image[shown, 0]) for name, outcome in outcomes.items()]
    path = run.path / "figures" / f"{domain}-{subject}.png"
    same_place = round(float(slices.query.position[shown]) * (len(beside.image) - 1))
    comparison_figure(
        path,
        slices.query.image[shown, 0],
        panels,
        truth=None if slices.truth is None else slices.truth.image[shown, 0],
        beside=Panel("a reference\nscan", beside.image[same_place]),
        lesions=None if slices.lesions is None else slices.lesions[shown],
        title=f"{domain}, {subject}" + (", lesions outlined" if slices.lesions is not None else ""),
    )
    traces = {name: outcome.trace for name, outcome in outcomes.items() if outcome.trace}
    if traces:
        trajectory_figure(path.with_stem(f"{path.stem}-trajectories"), traces, title=f"{domain}, {subject}")


def draw_labels(
    run: RunFolder, domain: str, slices: Slices, images: dict[str, torch.Tensor], jury: judging.Jury
) -> None:
    """The structures that the segmentation judge sees in the query and in each method's image, on one slice."""
    given = {"query": slices.query.image} | {name: image for name, image in images.items() if name != "none"}
    found, shown = jury.labels(given), slices.shown
    if not found:
        return
    overlays = [Overlay(name, given[name][shown, 0], labels[shown]) for name, labels in found.items()]
    path = run.path / "figures" / f"{domain}-{slices.known.name}-labels.png"
    true, legend = (
        (None, "as segmented")
        if slices.known.labels is None
        else (slices.known.labels[shown], "as segmented (thick), true (thin)")
    )
    overlay_figure(path, overlays, truth=true, title=f"{domain}, {slices.known.name}: {legend}")


def log_results(cfg: DictConfig, run: RunFolder, rows: list[Row]) -> None:
    """The table, its means and the figures into the experiment's log."""
    logger = app.build_logger(cfg, run)
    table = result_table(rows)
    means = table.query_means() | table.flat_means()
    logger.log_metrics({f"result/{key}": value for key, value in means.items()})
    if hasattr(logger, "log_table"):
        logger.log_table(
            key="results", columns=list(Row.__annotations__), data=[list(vars(row).values()) for row in rows]
        )
        for figure in sorted((run.path / "figures").glob("*.png")):
            logger.log_image(key=f"figures/{figure.stem}", images=[str(figure)])
        log_panels(logger, run)
    logger.finalize("success")


def log_panels(logger: Any, run: RunFolder) -> None:
    """Per domain the drawn slices as pictures side by side, with the brain mask to lay over them."""
    for folder in sorted((run.path / "panels").glob("*")):
        panels = [
            (str(path), f"{name}, {subject}", {"brain": {"mask_data": brain, "class_labels": {1: "brain"}}})
            for subject, pictures in read_panels(run.path, folder.name).items()
            for brain in [read_brain(run.path, folder.name, subject)]
            for name, path in sorted(pictures.items(), key=lambda item: (item[0] != "query", item[0] == "truth"))
        ]
        images, captions, masks = (list(column) for column in zip(*panels, strict=True))
        logger.log_image(key=f"panels/{folder.name}", images=images, caption=captions, masks=masks)
