"""What the page shows of one metric: its table, its tests, its charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from harmony.analysis import Test
from harmony.core.margins import MARGINS, of_harm
from harmony.core.vocabulary import MIDDLE, describe, direction
from harmony.reports import charts
from harmony.reports.citations import uncited
from harmony.reports.view import View

# What a metric says something of -> the first words of the metrics; the first group is open when the page is.
GROUPS = {
    "image": ("psnr", "ssim"),
    "labels": ("dice", "iou", "hd95", "volume", "missed", "invented", "absent", "lesion"),
    "age": ("age",),
    "site": ("site",),
    "scanner found": ("scanner",),
    "likelihood, cost and checks": (),  # and whatever has no group
}


def groups(sections: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sections of a page by what they say something of, without empty groups."""
    rest = list(GROUPS)[-1]
    of = {
        each["name"]: next((g for g, first in GROUPS.items() if each["name"].split("_")[0] in first), rest)
        for each in sections
    }
    grouped = [{"name": group, "metrics": [each for each in sections if of[each["name"]] == group]} for group in GROUPS]
    return [group for group in grouped if group["metrics"]]


def metric_section(view: View, name: str) -> dict[str, Any]:
    """One metric: its words, table, tests and charts of every domain."""
    words, domains = describe(name), view.comparison.domains
    queries = [cell.interval for (_, domain, metric), cell in view.comparison.cells.items()
               if metric == name and domain != "reference"]  # fmt: skip
    high = max((charts.end(interval) for interval in queries), default=0.0)
    return {
        "name": name,
        "words": words,
        "meaning": uncited(words.meaning),
        "rows": [(domain, _row(view, domain, name)) for domain in domains],
        "published": _published(view, name),
        "smallest_p": view.comparison.smallest_p(name),
        "family": len(view.comparison.family(name)),
        "harm": of_harm(name) if name in MARGINS else "",
        "tests": [line for domain in domains for line in _test_lines(view, domain, name)],
        "bars": [(domain, _bars(view, domain, name, high)) for domain in domains],
        "pairs": [(domain, *both) for domain in domains if (both := _pairs(view, domain, name))],
    }


def _published(view: View, metric: str) -> list[tuple[str, str, str]]:
    """(domain, method, mean) of the table of a paper that the experiment names; beside our middle slices, if any."""
    theirs = metric.removesuffix(MIDDLE)
    if metric == theirs and metric + MIDDLE in view.comparison.metrics:
        return []
    return [
        (domain, method.replace("_", " "), f"{means[theirs]:.{describe(metric).digits}f}")
        for domain, methods in view.comparison.runs[0].config.get("published", {}).get("rows", {}).items()
        for method, means in methods.items()
        if theirs in means
    ]


def _row(view: View, domain: str, metric: str) -> list[dict[str, Any] | None]:
    best, digits = view.comparison.best(domain, metric), describe(metric).digits
    row: list[dict[str, Any] | None] = []
    for entry in view.comparison.entries:
        cell = view.comparison.cells.get((entry, domain, metric))
        test = view.comparison.tests.get((entry, domain, metric))
        if cell is None:
            row.append(None)
            continue
        interval = cell.interval
        seeds = ", ".join(f"{value:.{digits}f}" for value in cell.by_seed)
        row.append(
            {
                "mean": f"{interval.mean:.{digits}f}",
                "range": interval.span(digits, between=" – "),
                "spread": None if cell.spread is None else f"±{cell.spread:.{digits + 1}f}",
                "more": [f"n = {interval.subjects}", *([f"seeds {seeds}"] if cell.spread is not None else [])],
                "best": entry in best,
                "sure": _verdict(test, metric),
            }
        )
    return row


def _verdict(test: Test | None, metric: str) -> str:
    """`better` or `worse` than not harmonized, where the test is sure of it."""
    if test is None or test.adjusted is None or test.adjusted >= 0.05:
        return ""
    return "better" if direction(metric) * test.against.difference.mean > 0 else "worse"


def _test_lines(view: View, domain: str, metric: str) -> list[dict[str, Any]]:
    digits, lines = describe(metric).digits + 1, []
    for entry in view.comparison.entries:
        test = view.comparison.tests.get((entry, domain, metric))
        if test is not None:
            change = test.against.difference
            kept = change.subjects - test.against.harmed
            lines.append(
                {
                    "domain": domain,
                    "method": view.name(entry),
                    "difference": f"{change.mean:+.{digits}f}",
                    "range": change.span(digits, between=" to ", sign="+"),
                    "n": change.subjects,
                    "p": p_value(test.against.p),
                    "adjusted": "–" if test.adjusted is None else p_value(test.adjusted),
                    "sure": test.adjusted is not None and test.adjusted < 0.05,
                    "kept": f"{kept} of {change.subjects} ({1 - test.against.worse:.0%})",
                }
            )
    return lines


def _bars(view: View, domain: str, metric: str, high: float) -> Markup:
    found = [(entry, view.comparison.cells.get((entry, domain, metric))) for entry in view.comparison.entries]
    rows = [charts.Bar(view.name(e), view.style(e), cell.interval) for e, cell in found if cell is not None]
    if domain == "reference":  # identical images score the cap: an axis of its own
        high = max((charts.end(row.interval) for row in rows), default=0.0)
    return charts.bars(rows, describe(metric).digits, high=high) if rows else Markup("")


def _pairs(view: View, domain: str, metric: str) -> tuple[Markup, dict[str, Any]] | None:
    """The chart, and its numbers as a table: a row a subject, a column a method."""
    words = describe(metric)
    changes = {entry: view.comparison.change(entry, domain, metric) for entry in view.comparison.entries}
    rows = [charts.Pair(view.name(entry), view.style(entry), both) for entry, both in changes.items() if both]
    if words.better is None or not rows:
        return None
    subjects = sorted({subject for row in rows for subject in row.subjects})
    both = [[row.subjects.get(subject) for row in rows] for subject in subjects]
    values = [
        [
            next(f"{each[0]:.{words.digits}f}" for each in line if each),
            *(f"{each[1]:.{words.digits}f}" if each else "–" for each in line),
        ]
        for line in both
    ]
    table = {"methods": [row.name for row in rows], "rows": list(zip(subjects, values, strict=True))}
    return charts.pairs(rows, words.better == "higher", words.digits), table


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
