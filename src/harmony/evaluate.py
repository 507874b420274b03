"""Score methods on query domains: python -m harmony.evaluate experiment=ixi_blindharmony 'methods=[none]'"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from math import isnan
from statistics import mean
from typing import cast

import torch
from omegaconf import DictConfig, OmegaConf

from harmony import app, judging
from harmony.core import Harmonized, Row, Stack, Volume, interrupts, of_subjects, read_rows, write_rows
from harmony.core.files import write_atomic
from harmony.core.reference import Reference
from harmony.core.runs import RunFolder
from harmony.data import SliceDataModule, watched
from harmony.display import draw, draw_labels, log_results
from harmony.domains import QueryDomain, Slices, query_domains
from harmony.flows import ImageDensity
from harmony.methods import AdaptiveMethod, Evidence, Method
from harmony.metrics import jitter, lesion_contrast, psnr, ssim
from harmony.reports import (
    AdaptationCurves,
    ResultTable,
    adaptation_figure,
    biology,
    box_figure,
    keep,
    print_table,
    report_page,
    result_table,
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
    domains = query_domains(cfg, data)
    print(f"evaluation: {len(methods)} methods on {len(domains)} domains in {run.path}", flush=True)
    left_out = [why for domain in domains for why in domain.left_out]
    print("".join(f"left out: {why}\n" for why in left_out), end="", flush=True)
    run.begin(OmegaConf.to_yaml(cfg, resolve=True))
    part = data.volumes(cfg.evaluation.part)
    volumes = of_subjects(part, cfg.evaluation.subjects, lambda volume: volume.scan.subject)
    jury = judging.assemble(cfg, data, networks)
    qualities = judging.examine(cfg, jury, data, volumes, domains)
    judging.announce(cfg, qualities)
    try:
        rows = score_all(cfg, run, domains, methods, cast("ImageDensity", networks["flow"]), jury, volumes[0])
    except interrupts.Interrupted:
        run.interrupt()
        raise
    rows += jury.number_rows(rows)
    write_rows(run.path / "results.csv", rows)
    if any(row.metric == "dice" for row in rows):
        box_figure(run.path / "figures" / "dice.png", rows, "dice", title=title(cfg))
    log_results(cfg, run, rows)
    table = result_table(rows)
    models = {stage: each.path.name for stage, each in runs.items()}
    asked = {
        "subjects": {domain.name: len({case.subject for case in domain.cases}) for domain in domains},
        "skipped": skipped(data, cfg),
        "left_out": left_out,
    }
    asked["adapt_on"] = cfg.evaluation.adapt_on
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
    domains: list[QueryDomain],
    methods: dict[str, Method],
    density: ImageDensity,
    jury: judging.Jury,
    beside: Volume,
) -> list[Row]:
    """All rows. One domain and subject at a time is finished and kept in `parts/`, so that a second start goes on.

    beside: a reference scan that is drawn where there is no truth.
    """
    rows: list[Row] = []
    for number, domain in enumerate(domains, start=1):
        found: list[Row] = []
        adapted = False
        parts = {case.name: run.path / "parts" / f"{domain.name}-{case.name}.csv" for case in domain.cases}
        for k, case in enumerate(watched(domain.cases, f"scoring {domain.name} ({number}/{len(domains)})")):
            part = parts[case.name]
            if not part.exists():
                if not adapted:
                    adapt_all(cfg, run, domain, methods, jury)
                    adapted = True
                slices, drawn = case.cut(cfg), k < cfg.evaluation.figure_subjects
                outcomes, new = score_subject(domain.name, slices, methods, density)
                images = {name: outcome.image for name, outcome in outcomes.items()}
                new += jury.rows(domain.name, slices.query, slices.known, images)
                if drawn:
                    draw(run, domain.name, slices, outcomes, beside)
                    draw_labels(run, domain.name, slices, images, jury)
                keep(
                    run.path, domain.name, case.name, slices.query, slices.truth, outcomes,
                    shown=slices.shown, panels=drawn,
                )  # fmt: skip
                jury.keep(part.with_suffix(".safetensors"), slices.query, slices.truth, images)
                write_rows(part, new)
            found += read_rows(part)
            interrupts.check()
        kept = {case.name: (case.subject, parts[case.name].with_suffix(".safetensors")) for case in domain.cases}
        found += jury.site_rows(domain.name, kept)
        print(f"  {means(found)}", flush=True)
        rows += found
    return rows


def means(rows: list[Row]) -> str:
    """`none 20.1, ssimh 21.3 dB` of one domain; bits per dimension where there is no truth."""
    metric, unit, digits = ("psnr", "dB", 1) if any(row.metric == "psnr" for row in rows) else ("bpd", "bpd", 2)
    values = result_table(row for row in rows if row.metric == metric).flat_means()
    return ", ".join(f"{key.split('/')[1]} {value:.{digits}f}" for key, value in values.items()) + f" {unit}"


def adapt_all(
    cfg: DictConfig, run: RunFolder, domain: QueryDomain, methods: dict[str, Method], jury: judging.Jury
) -> None:
    """Each adaptive method, from its initial state, to the unlabelled query scans of one domain; with its evidence.

    The PSNR of every pass is looked on for the record, where there is a truth; no rule sees it.
    """
    seen = {"adapt_on": cfg.evaluation.adapt_on, "subjects": [case.name for case in domain.adapt_on]}
    cut = [case.cut(cfg) for case in domain.adapt_on]
    jury.adapt([slices.query for slices in cut])
    truths = [slices.truth.image for slices in cut if slices.truth is not None]
    records = {}
    for name, method in methods.items():
        if not isinstance(method, AdaptiveMethod):
            continue
        stacks = [slices.query.to(app.device()) for slices in cut]
        quality: list[float] = []

        def watch(
            _: int, method: Method = method, stacks: list[Stack] = stacks, quality: list[float] = quality
        ) -> None:
            if truths:
                images = [method.harmonize(stack).image.cpu() for stack in stacks]
                quality.append(mean(psnr(image, truth) for image, truth in zip(images, truths, strict=True)))

        method.reset()
        record = method.adapt(stacks, watch)
        found = asdict(record) | {"psnr": quality} | seen
        write_atomic(run.path / "adaptation" / f"{name}-{domain.name}.json", json.dumps(found, indent=2) + "\n")
        if len(record.trajectory) > 1:
            records[name] = AdaptationCurves(
                {key: [getattr(each, key) for each in record.trajectory] for key in Evidence._fields}
                | {"psnr": quality},
                record.kept,
            )
    if records:
        title = f"{domain.name}: adaptation"
        adaptation_figure(run.path / "figures" / f"{domain.name}-adaptation.png", records, title=title)


def score_subject(
    domain: str, slices: Slices, methods: dict[str, Method], density: ImageDensity
) -> tuple[dict[str, Harmonized], list[Row]]:
    """Harmonize one stack with every method, and score the image that each returned."""
    outcomes, rows = {}, []
    target, known = app.device(), slices.known
    for name, method in methods.items():
        begin = time.perf_counter()
        harmonized = method.harmonize(slices.query.to(target))
        image = harmonized.image.cpu()  # inside the time: a GPU is done when its result is here
        seconds = time.perf_counter() - begin
        outcomes[name] = Harmonized(image, harmonized.trace)
        scored = dict(measure(image, slices, density)) | {"seconds": seconds}
        if "fallback" in harmonized.trace:
            scored["fallbacks"] = float(harmonized.trace["fallback"].sum())
        rows += [Row(name, domain, known.subject, metric, value, known.name) for metric, value in scored.items()]
    return outcomes, rows


def measure(image: torch.Tensor, slices: Slices, density: ImageDensity) -> Iterator[tuple[str, float]]:
    query, truth = slices.query, slices.truth
    if truth is not None:
        yield "psnr", psnr(image, truth.image)
        yield "psnr_brain", psnr(image, truth.image, truth.mask)
        yield "ssim", ssim(image, truth.image)
        yield "ssim_brain", ssim(image, truth.image, truth.mask)
    yield "jitter", jitter(image, query.image, query.mask)
    with torch.no_grad():
        bpd = torch.cat([density.bits_per_dim(part.to(app.device())) for part in image.split(16)])
    yield "bpd", float(bpd.mean())
    yield "negatives", float((image < 0).sum())  # a query has none
    yield "background_changed", float(((image != query.image) & ~query.mask).sum())
    if slices.lesions is not None and slices.white_matter is not None:
        contrast = lesion_contrast(image[:, 0], slices.lesions, slices.white_matter)
        if not isnan(contrast):
            yield "lesion_contrast", contrast


def skipped(data: SliceDataModule, cfg: DictConfig) -> list[str]:
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
    return f"{cfg.name}: {cfg.data.title}, mean over subjects ({cfg.evaluation.part})"


main = app.entry_point(evaluate)

if __name__ == "__main__":
    main()
