"""Score methods on query domains: python -m harmony.evaluate experiment=ixi_blindharmony 'methods=[none]'"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any, cast

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from harmony import app, judging
from harmony.core import REFERENCE, Harmonized, Row, Stack, Volume, interrupts, read_rows, write_rows
from harmony.core.files import atomic_path, write_atomic
from harmony.core.reference import Reference
from harmony.core.runs import RunFolder
from harmony.data import QueryScanner, SliceDataModule, watched
from harmony.downstream import Truth
from harmony.flows import ImageDensity
from harmony.methods import AdaptiveMethod, Evidence, Method
from harmony.metrics import jitter, psnr, ssim
from harmony.reports import (
    AdaptationCurves,
    Overlay,
    Panel,
    ResultTable,
    adaptation_figure,
    biology,
    box_figure,
    comparison_figure,
    keep,
    overlay_figure,
    print_table,
    report_page,
    result_table,
    trajectory_figure,
    upright,
)


def evaluate(cfg: DictConfig) -> app.Runs:
    """Every chosen method on every query domain, per subject; results, summary and figures in the run folder."""
    data = app.build_data(cfg)
    run = app.experiment_run(cfg, data)
    if not app.rank():  # of several processes one evaluates
        with app.alone(run):
            evaluate_run(cfg, data, run)
    return {"evaluate": run.path}


def evaluate_run(cfg: DictConfig, data: SliceDataModule, run: RunFolder) -> None:
    if run.done:
        print(f"evaluation: {run.path} is done, reused")
        judging.announce(cfg, [judging.Quality(**each) for each in run.summary()["judges"]])
        show(cfg, result_table(read_rows(run.path / "results.csv")))
        return
    runs = {stage: app.model_run(cfg, data, stage) for stage in app.models_wanted(cfg)}
    networks = {stage: app.load_network(cfg, data, stage) for stage in runs}
    reference = Reference.load(runs["flow"].path / "reference.safetensors")
    methods = app.build_methods(cfg, networks, reference, runs["flow"].summary()["score"])
    domains = query_domains(cfg)
    print(f"evaluation: {len(methods)} methods on {len(domains)} domains in {run.path}", flush=True)
    run.begin(OmegaConf.to_yaml(cfg, resolve=True))
    volumes = data.volumes(cfg.evaluation.part)[: cfg.evaluation.subjects]
    jury = judging.assemble(cfg, data, networks)
    qualities = judging.examine(cfg, jury, data, volumes, domains)
    judging.announce(cfg, qualities)
    adapt_on = data.volumes(cfg.evaluation.adapt_on)[: cfg.evaluation.subjects]
    try:
        rows = score_all(cfg, run, volumes, adapt_on, domains, methods, cast("ImageDensity", networks["flow"]), jury)
    except interrupts.Interrupted:
        run.interrupt()
        raise
    write_rows(run.path / "results.csv", rows)
    if any(row.metric == "dice" for row in rows):
        box_figure(run.path / "figures" / "dice.png", rows, "dice", title=title(cfg))
    log_results(cfg, run, rows)
    table = result_table(rows)
    models = {stage: each.path.name for stage, each in runs.items()}
    asked = {"subjects": len(volumes), "skipped": left_out(data, cfg), "adapt_on": cfg.evaluation.adapt_on}
    trained = {stage: each.summary() for stage, each in runs.items()}
    judged = {"judges": [asdict(each) for each in qualities], "biology": biology(rows)}
    means = {"means": table.means(), "against_none": table.against_none()}
    run.finish({"models": models, "trained": trained, **asked, **judged, **means})
    report_page([run.path], run.path / "report.html")
    show(cfg, table)
    print(f"evaluation: done, {run.path / 'results.csv'} and its page {run.path / 'report.html'}")


def score_all(
    cfg: DictConfig,
    run: RunFolder,
    volumes: list[Volume],
    adaptation_volumes: list[Volume],
    domains: dict[str, QueryScanner | None],
    methods: dict[str, Method],
    density: ImageDensity,
    jury: judging.Jury,
) -> list[Row]:
    """All rows. One domain and subject at a time is finished and kept in `parts/`, so that a second start goes on."""
    rows: list[Row] = []
    for number, (domain, scanner) in enumerate(domains.items(), start=1):
        found: list[Row] = []
        adapted = False
        kept = {volume.scan.name: run.path / "parts" / f"{domain}-{volume.scan.name}.csv" for volume in volumes}
        for k, volume in enumerate(watched(volumes, f"scoring {domain} ({number}/{len(domains)})")):
            part = kept[volume.scan.name]
            if not part.exists():
                if not adapted:
                    adapt_all(cfg, run, domain, scanner, adaptation_volumes, methods, jury)
                    adapted = True
                query = scanner(volume) if scanner else volume
                stack, (reference, truth) = judging.case(cfg, query)[0], judging.case(cfg, volume)
                outcomes, new = score_subject(domain, stack, reference, volume, methods, density)
                images = {name: outcome.image for name, outcome in outcomes.items()}
                new += jury.rows(domain, stack, truth, images)
                if k < cfg.evaluation.figure_subjects:
                    draw(run, domain, volume, stack, reference, outcomes)
                    draw_labels(run, domain, truth, images, jury)
                panels = k < cfg.evaluation.figure_subjects
                keep(run.path, domain, volume.scan.name, stack, reference, outcomes, panels=panels)
                jury.keep(part.with_suffix(".safetensors"), reference, images)
                write_rows(part, new)
            found += read_rows(part)
            interrupts.check()
        found += jury.site_rows(domain, {name: part.with_suffix(".safetensors") for name, part in kept.items()})
        means = result_table(row for row in found if row.metric == "psnr").flat_means()
        print("  " + ", ".join(f"{key.split('/')[1]} {mean:.1f}" for key, mean in means.items()) + " dB", flush=True)
        rows += found
    return rows


def adapt_all(
    cfg: DictConfig,
    run: RunFolder,
    domain: str,
    scanner: QueryScanner | None,
    volumes: list[Volume],
    methods: dict[str, Method],
    jury: judging.Jury,
) -> None:
    """Each adaptive method, from its initial state, to the unlabelled query scans of one domain; with its evidence.

    The PSNR of every pass is looked on for the record; no rule sees it.
    """
    seen = {"adapt_on": cfg.evaluation.adapt_on, "subjects": [volume.scan.name for volume in volumes]}
    index = [volume.select(cfg.data.count, cfg.data.step) for volume in volumes]
    truths = [volume.stack(chosen) for volume, chosen in zip(volumes, index, strict=True)]
    queries = [(scanner(volume) if scanner else volume).stack(i) for volume, i in zip(volumes, index, strict=True)]
    jury.adapt(queries)
    records = {}
    for name, method in methods.items():
        if not isinstance(method, AdaptiveMethod):
            continue
        stacks = [query.to(app.device()) for query in queries]
        quality: list[float] = []

        def watch(
            _: int, method: Method = method, stacks: list[Stack] = stacks, quality: list[float] = quality
        ) -> None:
            images = [method.harmonize(stack).image.cpu() for stack in stacks]
            quality.append(mean(psnr(image, truth.image) for image, truth in zip(images, truths, strict=True)))

        method.reset()
        record = method.adapt(stacks, watch)
        found = asdict(record) | {"psnr": quality} | seen
        write_atomic(run.path / "adaptation" / f"{name}-{domain}.json", json.dumps(found, indent=2) + "\n")
        if len(record.trajectory) > 1:
            records[name] = AdaptationCurves(
                {key: [getattr(each, key) for each in record.trajectory] for key in Evidence._fields}
                | {"psnr": quality},
                record.kept,
            )
    if records:
        adaptation_figure(run.path / "figures" / f"{domain}-adaptation.png", records, title=f"{domain}: adaptation")


def score_subject(
    domain: str, query: Stack, truth: Stack, volume: Volume, methods: dict[str, Method], density: ImageDensity
) -> tuple[dict[str, Harmonized], list[Row]]:
    """Harmonize one stack with every method, and score the image that each returned."""
    outcomes, rows = {}, []
    target = app.device()
    for name, method in methods.items():
        begin = time.perf_counter()
        harmonized = method.harmonize(query.to(target))
        image = harmonized.image.cpu()  # inside the time: a GPU is done when its result is here
        seconds = time.perf_counter() - begin
        outcomes[name] = Harmonized(image, harmonized.trace)
        for metric, value in measure(image, query, truth, density):
            rows.append(Row(name, domain, volume.scan.name, metric, value))
        rows.append(Row(name, domain, volume.scan.name, "seconds", seconds))
        if "fallback" in harmonized.trace:
            fallbacks = float(harmonized.trace["fallback"].sum())
            rows.append(Row(name, domain, volume.scan.name, "fallbacks", fallbacks))
    return outcomes, rows


def measure(image: torch.Tensor, query: Stack, truth: Stack, density: ImageDensity) -> Iterator[tuple[str, float]]:
    yield "psnr", psnr(image, truth.image)
    yield "psnr_brain", psnr(image, truth.image, truth.mask)
    yield "ssim", ssim(image, truth.image)
    yield "ssim_brain", ssim(image, truth.image, truth.mask)
    yield "jitter", jitter(image, query.image, truth.mask)
    with torch.no_grad():
        bpd = torch.cat([density.bits_per_dim(part.to(app.device())) for part in image.split(16)])
    yield "bpd", float(bpd.mean())


def query_domains(cfg: DictConfig) -> dict[str, QueryScanner | None]:
    """Name -> simulated scanner; None for the untouched reference."""
    domains: dict[str, QueryScanner | None] = {REFERENCE: None} if cfg.evaluation.include_reference else {}
    return domains | {name: app.scanner(cfg, name) for name in cfg.data.query}


def draw(
    run: RunFolder, domain: str, volume: Volume, query: Stack, truth: Stack, outcomes: dict[str, Harmonized]
) -> None:
    middle = len(query) // 2
    panels = [Panel(name, outcome.image[middle, 0]) for name, outcome in outcomes.items()]
    path = run.path / "figures" / f"{domain}-{volume.scan.name}.png"
    comparison_figure(
        path, query.image[middle, 0], truth.image[middle, 0], panels, title=f"{domain}, {volume.scan.name}"
    )
    shown = {"query": query.image[middle, 0]} | dict(panels) | {"truth": truth.image[middle, 0]}
    keep_panels(run.path / "panels" / domain / f"{volume.scan.name}.npz", shown, truth.mask[middle, 0])
    traces = {name: outcome.trace for name, outcome in outcomes.items() if outcome.trace}
    if traces:
        trajectory_figure(path.with_stem(f"{path.stem}-trajectories"), traces, title=f"{domain}, {volume.scan.name}")


def keep_panels(path: Path, slices: dict[str, torch.Tensor], brain: torch.Tensor) -> None:
    """Slices and brain mask, upright, 0..255: for the experiment's log."""
    pictures = {name: upright((255 * image).round().to(torch.uint8)) for name, image in slices.items()}
    pictures["brain"] = upright(brain.to(torch.uint8))
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **pictures)


def draw_labels(run: RunFolder, domain: str, truth: Truth, images: dict[str, torch.Tensor], jury: judging.Jury) -> None:
    """The structures that the segmentation judge sees in each image, on its middle slice."""
    found = jury.labels(images)
    if not found or truth.labels is None:
        return
    middle = len(truth.labels) // 2
    panels = [Overlay(name, images[name][middle, 0], labels[middle]) for name, labels in found.items()]
    path = run.path / "figures" / f"{domain}-{truth.name}-labels.png"
    overlay_figure(path, truth.labels[middle], panels, title=f"{domain}, {truth.name}: found (thick), true (thin)")


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
    panels: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = defaultdict(list)
    for path in sorted((run.path / "panels").glob("*/*.npz")):
        with np.load(path) as found:
            panels[path.parent.name] += [
                (f"{name}, {path.stem}", found[name], found["brain"]) for name in found.files if name != "brain"
            ]
    for domain, shown in panels.items():
        captions, images, brains = (list(column) for column in zip(*shown, strict=True))
        masks = [{"brain": {"mask_data": brain, "class_labels": {1: "brain"}}} for brain in brains]
        logger.log_image(key=f"panels/{domain}", images=images, caption=captions, masks=masks)


def left_out(data: SliceDataModule, cfg: DictConfig) -> list[str]:
    """The scans of the scored part that could not be used (data.skip_bad=true)."""
    used = {volume.scan.name for volume in data.volumes(cfg.evaluation.part)}
    return [scan.name for scan in data.split()[cfg.evaluation.part] if scan.name not in used]


def show(cfg: DictConfig, table: ResultTable) -> None:
    """The table on the screen, with the rows of a paper's table beside it where the experiment names one."""
    if "published" not in cfg:
        print_table(table, title=title(cfg))
    else:
        published = app.plain(cfg.published)
        print_table(table.beside(published["rows"]), title=title(cfg), caption=f"published: {published['source']}")


def title(cfg: DictConfig) -> str:
    return f"{cfg.name}: {cfg.data.title}, against the truth, mean over {cfg.evaluation.part} subjects"


main = app.entry_point(evaluate)

if __name__ == "__main__":
    main()
