"""A study's findings as tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harmony.analysis import Agreement, Interval
from harmony.cohort.findings import Findings, verdict
from harmony.cohort.measures import BRIGHTNESS, SPAN, VOLUMES
from harmony.cohort.telling import AFTER, BEFORE
from harmony.core.vocabulary import describe
from harmony.reports.study import StudyPage, StudyScan, StudyTable

TELLING = (
    "Balanced accuracy, over people, of a classifier that tells the site from the reference by tissue shares, "
    "contrasts and histogram (not by texture); 0.5 is a coin. Retrained: on other people's scans as they are now. "
    "Frozen: on other people's scans as they were before; it finds less than is there."
)
BRIGHT = "Median intensity over that of white matter; mean and deviation over people."
SIZES = "By the tissue network of the reference model, in ml; mean and deviation over people."
KEPT = "Common slope within sites (least squares, 95 % interval): ml per year; for sex, men less women in ml."
TRAVEL = "The same people at two sites: ICC(2,1), coefficient of variation and absolute difference within a person."


def page_of(
    findings: Findings,
    histograms: Mapping[str, Mapping[str, np.ndarray]],
    scans: Sequence[StudyScan],
    warnings: Sequence[str],
    bad: Sequence[str],
) -> StudyPage:
    """histograms: before and after -> site -> mean histogram."""
    tables = [
        _telling(findings),
        _values(findings, BRIGHTNESS, "Contrast", BRIGHT),
        _values(findings, VOLUMES, "Volumes", SIZES),
        _relations(findings),
        _travellers(findings),
    ]
    title = f"harmony: {len(findings.people)} sites into {findings.reference}"
    filled = [table for table in tables if table.rows]
    return StudyPage(title, warnings, verdict(findings), filled, histograms, SPAN, scans, bad)


def _telling(findings: Findings) -> StudyTable:
    rows = [
        [site, str(findings.people[site]), *(_interval(share, 2) for share in (told.before, told.after, told.frozen))]
        for site, told in findings.telling.items()
    ]
    columns = ["site", "people", "retrained, before", "retrained, after", "frozen, after"]
    return StudyTable(f"Told from {findings.reference}", TELLING, columns, rows)


def _values(findings: Findings, metrics: Sequence[str], title: str, note: str) -> StudyTable:
    columns = ["site", "people", *(f"{describe(name).label}, {when}" for name in metrics for when in (BEFORE, AFTER))]
    rows = [
        [site, str(people), *(_spread(findings, site, when, name) for name in metrics for when in (BEFORE, AFTER))]
        for site, people in findings.people.items()
    ]
    return StudyTable(title, note, columns, rows)


def _relations(findings: Findings) -> StudyTable:
    rows = [
        [trait, describe(volume).label, str(slope.before.subjects), *(_interval(part, 2, sign="+") for part in slope)]
        for (trait, volume), slope in findings.relations.items()
        if np.isfinite(slope.before.mean)
    ]
    return StudyTable("Age and sex", KEPT, ["", "volume", "people", "before", "after", "change"], rows)


def _travellers(findings: Findings) -> StudyTable:
    both = [f"{name}, {when}" for name in ("ICC", "CoV %", "apart %") for when in (BEFORE, AFTER)]
    columns = ["sites", "people", "", *both]
    rows = [
        [
            " and ".join(pair.sites),
            str(pair.before.icc.subjects),
            describe(pair.metric).label,
            *_agreed(pair.before, pair.after),
        ]
        for pair in findings.travellers
    ]
    return StudyTable("People at two sites", TRAVEL, columns, rows)


def _agreed(*both: Agreement) -> list[str]:
    iccs = [_interval(one.icc, 2) for one in both]
    return [*iccs, *(f"{one.variation.mean:.1f}" for one in both), *(f"{one.apart.mean:.1f}" for one in both)]


def _interval(value: Interval, digits: int, *, sign: str = "") -> str:
    if not np.isfinite(value.mean):
        return "too few"
    return f"{value.mean:{sign}.{digits}f} [{value.span(digits, sign=sign)}]"


def _spread(findings: Findings, site: str, when: str, metric: str) -> str:
    values = list(findings.values.values.get((site, when, metric), {}).values())
    digits = 0 if metric in VOLUMES else 3
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}" if values else "-"
