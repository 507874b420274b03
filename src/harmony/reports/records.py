"""The tables of records, from the rows beside them: `make records`.

In a README, what stands between these two lines is made from results.csv, packed or not; the braces hold the fields of
`Layout`:

    <!-- table: {rows: [method], columns: domain, show: [psnr, ssim], bold: true} -->
    <!-- end -->

`{words: method}` gives a family of conf/ in the words of its YAML instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from yaml import YAMLError, safe_load

from harmony.analysis import PUBLISHED, biology, result_table
from harmony.analysis.agreement import RATIOS
from harmony.core import DataError, Row, read_rows
from harmony.core.files import write_atomic
from harmony.reports.sheet import Layout, Sheet
from harmony.reports.words import briefly

REGION = re.compile(r"(<!-- table: (\{.*?\}) -->\n).*?(<!-- end -->)", re.S)
Families = Callable[[], Mapping[str, Mapping[str, Any]]]  # family of conf/ -> member -> its config


def refresh(path: Path, families: Families) -> bool:
    """Make the tables of a README anew; whether it changed. Raises DataError for what cannot be made."""
    before = path.read_text(encoding="utf-8")
    after = refreshed(before, path, families)
    if after != before:
        write_atomic(path, after)
    return after != before


def refreshed(text: str, path: Path, families: Families) -> str:
    rows_of = cache(lambda source: read_rows(path.parent / source))  # most tables of a page are of the same rows

    def made(match: re.Match[str]) -> str:
        try:
            asked = safe_load(match[2])
            words = asked.get("words")
            lines = _said(families()[words]) if words else _sheet(Layout(**asked), path, rows_of).lines()
        except (YAMLError, TypeError, KeyError) as error:
            raise DataError(f"table {match[2]}: {error!r}", cure="see harmony.reports.sheet", path=path) from error
        return "\n".join([match[1], *lines, "", match[3]])

    return REGION.sub(made, text)


def _sheet(layout: Layout, path: Path, rows_of: Callable[[str], list[Row]]) -> Sheet:
    shown = {quantity.split()[0] for quantity in layout.show}
    wanted = shown.union(*(RATIOS.get(metric, ()) for metric in shown))
    rows = [row for row in rows_of(layout.source) if wanted & {row.metric, row.metric.split("_")[0]}]
    rows = [pooled(row, layout.pool) for row in rows]
    published = safe_load((path.parent / layout.published).read_text())["rows"] if layout.published else {}
    methods: list[str] = []
    theirs = dict.fromkeys(method for found in published.values() for method in found)
    for method in dict.fromkeys([*(layout.methods or [row.method for row in rows]), *theirs]):
        methods += [method, method + PUBLISHED] if method in theirs else [method]
    domains = list(layout.domains or dict.fromkeys(row.domain for row in rows))
    axes = {"domain": domains, "method": methods, "show": list(layout.show)}
    of_ages = biology(rows) if any(quantity.endswith(" r2") for quantity in layout.show) else {}
    return Sheet(layout, result_table(rows), published, of_ages, axes)


def pooled(row: Row, names: Sequence[str]) -> Row:
    """The row of NAME_3 as one of NAME, and its subject as another than that of NAME_4."""
    for name in names:
        if row.domain.startswith(f"{name}_"):
            draw = row.domain.removeprefix(f"{name}_")
            return replace(row, domain=name, subject=f"{row.subject}/{draw}", scan=f"{row.scan}/{draw}")
    return row


def _said(family: Mapping[str, Any]) -> list[str]:
    members = [f"| `{name}` | {briefly(node)} |" for name, node in sorted(family.items())]
    return ["| name | what it is |", "|---|---|", *members]
