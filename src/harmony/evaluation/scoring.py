"""Harmonize and score: one domain after the other, one subject at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from statistics import mean

from safetensors.torch import load_file, save_file
from torch import Tensor

from harmony.analysis import result_table
from harmony.core import Harmonized, Row, Stack, Volume, interrupts, read_rows, write_rows
from harmony.core.digests import intact, intact_document, seal, write_sealed
from harmony.core.files import atomic_path
from harmony.core.machine import device
from harmony.core.progress import watched
from harmony.evaluation.cases import Case, EvaluationSettings, ScoredSlices
from harmony.evaluation.domains import QueryDomain
from harmony.evaluation.panel import Answers, Panel
from harmony.evaluation.pictures import keep_case
from harmony.flows import ImageDensity, mean_bits_per_dim
from harmony.methods import AdaptiveMethod, Evidence, Method
from harmony.metrics import jitter, lesion_contrast, psnr, ssim_map
from harmony.reports import AdaptationCurves, adaptation_figure


@dataclass(frozen=True)
class Evaluation:
    """Everything that scores. folder: of the run. density: what bits per dimension are of, None for none. beside: a
    reference scan that is drawn where there is no truth."""

    folder: Path
    methods: Mapping[str, Method]
    density: ImageDensity | None
    panel: Panel
    settings: EvaluationSettings
    beside: Volume

    def rows(self, domains: Sequence[QueryDomain]) -> list[Row]:
        """All rows, by domain. What is finished is kept in `parts/`, so that a second start goes on."""
        return [
            row
            for number, domain in enumerate(domains, start=1)
            for row in self.score_domain(domain, f"scoring {domain.name} ({number}/{len(domains)})")
        ]

    def score_domain(self, domain: QueryDomain, announced: str) -> list[Row]:
        folder, keeps = self.folder / "parts", bool(self.panel.cohorts)
        parts = {case.name: Part(folder / f"{domain.name}-{case.name}.csv", keeps) for case in domain.cases}
        adapted = False
        if not all(intact_document(path) for path in self.adaptations(domain).values()):
            self.adapt(domain)
            adapted = True
        for k, case in enumerate(watched(domain.cases, announced)):
            if not parts[case.name].done:
                if not adapted:
                    self.adapt(domain)
                    adapted = True
                parts[case.name].save(self.score_case(domain, case, drawn=k < self.settings.figure_subjects))
            interrupts.check()
        rows = [row for part in parts.values() for row in part.rows()]
        if keeps:
            people = {case.name: case.subject for case in domain.cases}
            rows += self.panel.conclude(domain.name, {name: part.kept() for name, part in parts.items()}, people)
        print(f"  {means(rows)}", flush=True)
        return rows

    def score_case(self, domain: QueryDomain, case: Case, *, drawn: bool) -> Answers:
        """Harmonize one stack with every method, score the image that each returned, and ask the judges."""
        slices = case.slices(self.settings.cut)
        outcomes, rows = score_methods(domain.name, slices, self.methods, self.density)
        images = {name: outcome.image for name, outcome in outcomes.items()}
        answers = self.panel.ask(domain.name, slices, images)
        given = {"query": slices.query.image} | {name: image for name, image in images.items() if name != "none"}
        labels = self.panel.labels(given) if drawn else None
        keep_case(self.folder, domain.name, slices, outcomes, labels=labels, beside=self.beside)
        return Answers(rows + answers.rows, answers.kept)

    def adaptations(self, domain: QueryDomain) -> dict[str, Path]:
        """Adaptive method -> the record of its adaptation."""
        adaptive = [name for name, method in self.methods.items() if isinstance(method, AdaptiveMethod)]
        return {name: self.folder / "adaptation" / f"{name}-{domain.name}.json" for name in adaptive}

    def adapt(self, domain: QueryDomain) -> None:
        """Each adaptive method and judge, from its initial state, to the unlabelled query scans of one domain; with its
        evidence."""
        seen = {"adapt_on": self.settings.adapt_on, "subjects": [case.name for case in domain.adapt_on]}
        slices = [case.slices(self.settings.cut) for case in domain.adapt_on]
        self.panel.adapt([each.query for each in slices])
        curves = {}
        for name, method in self.methods.items():
            if not isinstance(method, AdaptiveMethod):
                continue
            record, found = adapted(method, slices)
            write_sealed(self.adaptations(domain)[name], record | seen)
            if found is not None:
                curves[name] = found
        if curves:
            path = self.folder / "figures" / f"{domain.name}-adaptation.png"
            adaptation_figure(path, curves, title=f"{domain.name}: adaptation")


@dataclass(frozen=True)
class Part:
    """What is kept of a finished case: its rows in `path`; and, where there are cohort judges, beside them what those
    keep of it."""

    path: Path
    keeps: bool

    @property
    def beside(self) -> Path:
        return self.path.with_suffix(".safetensors")

    @property
    def done(self) -> bool:
        return intact(self.path) and (intact(self.beside) or not self.keeps)

    def save(self, answers: Answers) -> None:
        if self.keeps:
            with atomic_path(self.beside) as temporary:
                save_file(answers.kept, temporary)
            seal(self.beside)
        write_rows(self.path, answers.rows)

    def rows(self) -> list[Row]:
        return read_rows(self.path)

    def kept(self) -> dict[str, Tensor]:
        return load_file(self.beside)


def adapted(
    method: AdaptiveMethod, slices: Sequence[ScoredSlices]
) -> tuple[dict[str, object], AdaptationCurves | None]:
    """The record of an adaptation, and its curves where there was more than one pass.

    The PSNR of every pass is looked on for the record, where there is a truth; no rule sees it.
    """
    stacks = [each.query.to(device()) for each in slices]
    truths = [each.truth.image for each in slices if each.truth is not None]
    quality: list[float] = []

    def watch(_: int) -> None:
        if truths:
            images = [method.harmonize(stack).image.cpu() for stack in stacks]
            quality.append(mean(psnr(image, truth) for image, truth in zip(images, truths, strict=True)))

    method.reset()
    record = method.adapt(stacks, watch)
    curves = {key: [getattr(each, key) for each in record.trajectory] for key in Evidence._fields} | {"psnr": quality}
    several = len(record.trajectory) > 1
    return asdict(record) | {"psnr": quality}, AdaptationCurves(curves, record.kept) if several else None


def score_methods(
    domain: str, slices: ScoredSlices, methods: Mapping[str, Method], density: ImageDensity | None
) -> tuple[dict[str, Harmonized], list[Row]]:
    """Every method's outcome, on the CPU, and its scores."""
    outcomes, rows = {}, []
    known = slices.known
    for name, method in methods.items():
        begin = time.perf_counter()
        harmonized = method.harmonize(slices.query.to(device()))
        image = harmonized.image.cpu()  # inside the time: a GPU is done when its result is here
        seconds = time.perf_counter() - begin
        harmonized.refuse_no_numbers(name, known.name)
        outcomes[name] = Harmonized(image, harmonized.trace)
        scored = dict(measure(image, slices, density)) | {"seconds": seconds}
        if harmonized.report is not None:
            scored |= harmonized.report.numbers()
        if "fallback" in harmonized.trace:
            scored["fallbacks"] = float(harmonized.trace["fallback"].sum())
        rows += [Row(name, domain, known.subject, metric, value, known.name) for metric, value in scored.items()]
    return outcomes, rows


def measure(image: Tensor, slices: ScoredSlices, density: ImageDensity | None) -> Iterator[tuple[str, float]]:
    """Of all slices; of the middle ones and of the rim where the name says so. Left out: what is not defined, as the
    brain's at a rim without any."""
    query = slices.query
    if slices.truth is not None:
        yield from likeness(image, slices.truth, slices)
    yield "jitter", jitter(image, query.image, query.mask)
    if density is not None:
        yield "bpd", mean_bits_per_dim(density, image)
    yield "negatives", float((image < 0).sum())  # a query has none
    yield "background_changed", float(((image != query.image) & ~query.mask).sum())
    if slices.lesions is not None and slices.white_matter is not None:
        contrast = lesion_contrast(image[:, 0], slices.lesions, slices.white_matter)
        if not isnan(contrast):
            yield "lesion_contrast", contrast


def likeness(image: Tensor, truth: Stack, slices: ScoredSlices) -> Iterator[tuple[str, float]]:
    """PSNR and SSIM. A slice without brain counts in those of whole slices, and has no pixels in those of the brain."""
    middle, rim = slices.middle, slices.rim
    similarity = ssim_map(image, truth.image)
    yield "psnr", psnr(image, truth.image)
    yield "ssim", float(similarity.mean())
    yield "psnr_middle", psnr(image[middle], truth.image[middle])
    yield "ssim_middle", float(similarity[middle].mean())
    if truth.mask.any():
        yield "psnr_brain", psnr(image, truth.image, truth.mask)
        yield "ssim_brain", float(similarity[truth.mask].mean())
    for name, part in (("middle", middle), ("rim", rim)):
        if truth.mask[part].any():
            yield f"psnr_brain_{name}", psnr(image[part], truth.image[part], truth.mask[part])


def means(rows: list[Row]) -> str:
    """`none 20.1, x 21.3 dB` of one domain; without a truth bits per dimension, or else how even the slices are."""
    said = {"psnr": ("dB", 1), "bpd": ("bpd", 2), "jitter": ("jitter", 2)}
    metric = next(each for each in said if any(row.metric == each for row in rows))
    unit, digits = said[metric]
    values = result_table(row for row in rows if row.metric == metric).flat_means()
    return ", ".join(f"{key.split('/')[1]} {value:.{digits}f}" for key, value in values.items()) + f" {unit}"
