"""Several sites into one of them, with an answer: python -m harmony.study input=BIDS output=OUT reference='"site=A"'"""

from __future__ import annotations

import copy
import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from harmony import app
from harmony.app.references import TissueModel, learn_reference, load_tissue_model
from harmony.cohort.findings import study_findings
from harmony.cohort.measures import Measured, measure
from harmony.cohort.outliers import distance, unlike
from harmony.cohort.page import page_of
from harmony.cohort.record import ScanRecord, mean_histograms, recorded
from harmony.cohort.sites import Sites, find_sites
from harmony.cohort.telling import LEAST
from harmony.core import ConfigError, DamagedError, DataError, Scan, interrupts, write_rows
from harmony.core.digests import read_sealed, sha256, write_sealed
from harmony.core.files import write_atomic
from harmony.core.locks import claim
from harmony.core.packed_model import About
from harmony.core.progress import watched
from harmony.core.runs import fingerprint
from harmony.data.inspection.confounding import confounded
from harmony.data.volumes.brain_extraction import may_find
from harmony.delivery import Applied, Derivatives, Request, deliver
from harmony.judges.probe import Probe
from harmony.reports.study import StudyScan, StudyTable, study_page
from harmony.scanner import EVEN, NOTHING

PASSED = ("mask", "participants", "workers", "skip_bad")  # to the delivery, as they are
MODEL, ASKED = "reference.harmony", "reference.json"  # in the output
SAME = 1e-5  # of the robust maximum: rounding of a change of unit
FOLDER = "study"  # in the output: tables, and what was measured


def study(cfg: DictConfig) -> None:
    """Reference, harmonizing, measuring, page. Exits with code 1 where a scan was left out."""
    root, out = Path(cfg.input).expanduser(), Path(cfg.output).expanduser()
    mask = None if may_find(cfg.mask) else cfg.mask
    sites = find_sites(root, cfg.reference, participants=cfg.participants, mask=mask)
    warnings = list(misleading(sites))
    for line in (f"sites: {', '.join(f'{name} {count}' for name, count in sites.counts.items())}", *warnings):
        print(line, flush=True)
    out.mkdir(parents=True, exist_ok=True)
    model = reference_model(cfg, sites, out)
    applied = app.load_applied(with_model(cfg, model))
    bad: list[str] = []
    for part, source in sites.folders.items():
        bad += delivered(cfg, source, out / part, model, applied)
    own = came_back(cfg, sites, out)
    report(cfg, sites.reference, out, measured(cfg, sites, out, applied, bad), own, warnings, bad)
    if bad:
        sys.exit(1)


def misleading(sites: Sites) -> Iterator[str]:
    """What may mislead, before anything else: site and age or sex, sites of few people, ages that are not known."""
    yield from confounded(sites.scans)
    for site in sites.counts:
        people = {scan.subject for scan in sites.of(site)}
        if len(people) < LEAST:
            yield f"{site}: {len(people)} people, of whom nothing can be told; it takes {LEAST}"
    known = {site for site in sites.counts if any(scan.age is not None for scan in sites.of(site))}
    if known and len(known) < len(sites.counts):
        yield f"ages are known at {', '.join(sorted(known))} only"


def reference_model(cfg: DictConfig, sites: Sites, out: Path) -> Path:
    """The reference of the site's scans, learned once. Raises ConfigError where the folder is of another reference."""
    path, scans = out / MODEL, sites.of(sites.reference)
    with claim(out / ".locks" / "reference.lock", wait=True):
        asked = {"reference": cfg.reference, "made_from": fingerprint({"scans": [sha256(scan.path) for scan in scans]})}
        former = written_before(out / ASKED)
        if former is not None and former["reference"] != cfg.reference:
            raise ConfigError(
                f"output={out}: a study with reference={former['reference']} is there -> another output folder"
            )
        if former != asked or not path.exists():
            learn_reference(cfg, scans, path, About(re.sub(r"[^\w.-]+", "-", sites.reference), "not stated"))
            write_sealed(out / ASKED, asked)
    return path


def written_before(path: Path) -> dict[str, Any] | None:
    """What a former call wrote; None where there was none, or it is damaged."""
    try:
        return read_sealed(path)
    except (OSError, DamagedError):
        return None


def with_model(cfg: DictConfig, model: Path) -> DictConfig:
    """The config with the study's own reference as its model."""
    own = copy.deepcopy(cfg)
    own.model = str(model)
    with open_dict(own):
        own.bits_per_dim = False
    return own


def delivered(cfg: DictConfig, source: Path, output: Path, model: Path, applied: Applied) -> list[str]:
    """Every scan of a folder harmonized into the output, in the reference's unit; what was wrong with the others."""
    plain = app.plain(cfg)
    request = Request(
        sources=[source],
        output=output,
        method=cfg.method_name,
        settings=plain["method"],
        original_scale=False,
        **{name: plain[name] for name in PASSED},
    )
    outcome = deliver(request, applied, command(cfg, source, output, model))
    assert outcome is not None  # only a process that helps another has none
    print(f"{outcome.harmonized} scans harmonized, {outcome.done} were done, {len(outcome.bad)} bad", flush=True)
    return [error.public for error in outcome.bad]


def command(cfg: DictConfig, source: Path, output: Path, model: Path) -> list[str]:
    """What starts a further process: `harmonize`, with this study's model and settings."""
    plain = app.plain(cfg)
    own = {"input": str(source), "output": str(output), "model": str(model), "original_scale": False}
    rest = {name: plain[name] for name in (*PASSED, "seed", "shading", "only_plausible", "runs", "cache")}
    words = [f"{key}={json.dumps(value)}" for key, value in (own | rest).items()]
    typed = cast("list[str]", OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False))
    words += [word for word in typed if word.lstrip("+~").startswith("method.")]
    return [sys.executable, "-m", "harmony.harmonize", *words, f"method={cfg.method_name}"]


def measured(cfg: DictConfig, sites: Sites, out: Path, applied: Applied, bad: list[str]) -> list[ScanRecord]:
    """Every harmonized scan before and after, kept in the output. What cannot be measured is added to `bad`."""
    base, records = load_tissue_model(cfg), []
    for scan in watched(sites.scans, "measuring"):
        interrupts.check()
        part = sites.part(scan)
        output = Derivatives(out / part, cfg.method_name)
        about = output.provenance(scan)
        if about is None:
            continue  # it was bad, and has been named
        mask = output.mask(scan) if output.mask(scan).exists() else scan.mask
        pair = replace(scan, mask=mask), replace(scan, mask=mask, path=output.image(scan), labels=None)
        path = out / FOLDER / "measured" / part / f"{output.stem(scan)}.json"
        try:
            records.append(recorded(path, part, scan, about["MadeFrom"], partial(both, pair, base)))
        except DataError as error:
            bad.append(error.public)
    return records


def both(pair: tuple[Scan, Scan], base: TissueModel) -> tuple[Measured, Measured]:
    """The scan and its result, measured on the model's grid; a result that is the scan, but for its unit, only once."""
    scan, result = map(base.preprocess, pair)
    before = measure(scan, base.network)
    same = scan.image.shape == result.image.shape and torch.allclose(scan.image, result.image, rtol=0, atol=SAME)
    return before, before if same else measure(result, base.network)


def came_back(cfg: DictConfig, sites: Sites, out: Path) -> list[str]:
    """A sentence on the reference site's own scans: how many of them are in the output as they were."""
    told = [Derivatives(out / sites.part(scan), cfg.method_name).provenance(scan) for scan in sites.of(sites.reference)]
    decided = [about["Scanner"]["decision"] for about in told if about is not None and "Scanner" in about]
    if not decided:
        return []  # another method, which decides nothing
    alone = decided.count(NOTHING)
    even = ", as all results are made even" if cfg.method.get("shading") == EVEN else ""
    return [f"{sites.reference}: {alone} of its own {len(decided)} scans came back as they were{even}."]


def report(
    cfg: DictConfig,
    reference: str,
    out: Path,
    records: list[ScanRecord],
    own: list[str],
    warnings: list[str],
    bad: list[str],
) -> None:
    """The page, its tables as CSV, and the verdict on screen. own: on the reference's own scans."""
    rows = [row for record in records for row in record.rows()]
    findings = study_findings(rows, [record.scan for record in records], reference, Probe(**app.plain(cfg.probe)))
    page = page_of(findings, mean_histograms(records), worst(cfg, reference, out, records), warnings, bad)
    page = replace(page, verdict=[*page.verdict, *own])
    write_rows(out / FOLDER / "scans.csv", rows)
    for table in page.tables:
        write_table(out / FOLDER / f"{table.title.lower().replace(' ', '_')}.csv", table)
    study_page(out / "study.html", page)
    for line in page.verdict:
        print(line)
    print(f"page {out / 'study.html'}, tables in {out / FOLDER}")


def worst(cfg: DictConfig, reference: str, out: Path, records: Sequence[ScanRecord]) -> list[StudyScan]:
    """The scans that are least like the reference's own after harmonizing, worst first."""
    own = [record.before.values for record in records if record.scan.site == reference]
    ordered = sorted(records, key=lambda record: -distance(record.after.values, own))
    return [
        StudyScan(
            record.scan.name,
            record.scan.site or "",
            unlike(record.after.values, own) or "within what the reference's scans have",
            Derivatives(out / record.part, cfg.method_name).figure(record.scan),
        )
        for record in ordered
    ]


def write_table(path: Path, table: StudyTable) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([table.columns, *table.rows])
    write_atomic(path, text.getvalue())


main = app.entry_point(study, config="study")

if __name__ == "__main__":
    main()
