"""One table of a record: rows of results laid out by domain, method and what is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean, median
from typing import Any

from harmony.analysis import PUBLISHED, Agreement, ResultTable, agreement, best
from harmony.analysis.agreement import scanners_of
from harmony.analysis.table import BASELINE
from harmony.core import REFERENCE
from harmony.core.vocabulary import MEAN, MIDDLE, describe


@dataclass(frozen=True, kw_only=True)
class Layout:
    """rows: one or two of domain, method, show. columns: another. What is neither is one, or, for `show`, joined by /.

    show: metrics, or `METRIC interval` (with its 95 % interval), `METRIC off` (mean |difference| to the untouched
    reference scan), `METRIC each` (subject by subject), `METRIC subjects` (how many have it), `METRIC harmed` (how many
    subjects were, `core.margins`), `METRIC gain` (median of value - unharmonized), `dice recovered` (% of the lost Dice
    that came back), `age r2`. Of all listed domains together: `VOLUME icc` (with its interval), `VOLUME variation`,
    `VOLUME apart`, `VOLUME between` (`analysis.Agreement`).
    domains, methods: which, in this order; all of the rows otherwise. `mean`: over the other domains but the reference.
    published: YAML with a paper's rows, shown in italics. bold: the best method of each domain. source: the rows.
    pool: of the domains NAME_0, NAME_1 ... one domain NAME, in which each subject of each counts (draws of a scanner).
    """

    rows: Sequence[str]
    columns: str
    show: Sequence[str]
    domains: Sequence[str] = ()
    methods: Sequence[str] = ()
    source: str = "results.csv"
    published: str = ""
    bold: bool = False
    pool: Sequence[str] = ()


@dataclass(frozen=True)
class Sheet:
    """The texts of one table: domain, method, quantity -> text, `-` where there is nothing."""

    layout: Layout
    table: ResultTable
    published: Mapping[str, Mapping[str, Mapping[str, float]]]
    biology: Mapping[str, Any]
    axes: Mapping[str, list[str]]

    def lines(self) -> list[str]:
        columns = self.axes[self.layout.columns]
        titles = [_title(self.layout.columns, name) for name in columns]
        made = [
            f"| {' | '.join([*self.layout.rows, *titles])} |",
            "|---" * (len(self.layout.rows) + len(columns)) + "|",
        ]
        former = ""
        for place in product(*(self.axes[axis] for axis in self.layout.rows)):
            at = dict(zip(self.layout.rows, place, strict=True))
            texts = [self.joined(at | {self.layout.columns: name}) for name in columns]
            if set(texts) <= {"-", ""}:
                continue
            names = [_title(axis, name) for axis, name in at.items()]
            names[0], former = ("" if len(names) > 1 and names[0] == former else names[0]), names[0]
            made.append(f"| {' | '.join([*names, *texts])} |")
        return made

    def joined(self, at: Mapping[str, str]) -> str:
        domain, method = (at.get(axis) or self.axes[axis][0] for axis in ("domain", "method"))
        shown = [at["show"]] if "show" in at else self.layout.show
        texts = [self.text(domain, method, quantity) for quantity in shown]
        if method.endswith(PUBLISHED):
            return f"*{' / '.join(texts)}*" if set(texts) != {"-"} else ""
        return " / ".join(texts) if set(texts) != {"-"} else "-"

    def text(self, domain: str, method: str, quantity: str) -> str:
        metric, _, how = quantity.partition(" ")
        if how == "each":
            values = self.table.values.get((domain, method, metric), {}).values()
            return ", ".join(f"{value:.{describe(metric).digits}f}" for value in values) or "-"
        if how in _AGREEMENT:
            return self.agreed(method, metric, how)
        value = self.number(domain, method, quantity)
        if value is None:
            return "-"
        text = _digits(value, quantity, exact=method.endswith(PUBLISHED))
        if how == "interval":
            cell, digits = self.table.cells[domain, method, metric], describe(metric).digits
            text += f" [{cell.span(digits)}]"
        return f"**{text}**" if self.layout.bold and not how and method in self.best(domain, metric) else text

    def best(self, domain: str, metric: str) -> list[str]:
        """Whose mean, rounded as it is shown, is the best."""
        rivals = {name: self.number(domain, name, metric) for name in self.axes["method"] if PUBLISHED not in name}
        return best({name: float(_digits(each, metric)) for name, each in rivals.items() if each is not None}, metric)

    def agreed(self, method: str, metric: str, how: str) -> str:
        """How far the listed domains agree on a volume, by this method."""
        scanners = scanners_of(self.table.values, method, metric)
        found = agreement({name: scanners[name] for name in self.axes["domain"] if name in scanners})
        return "-" if found is None else _AGREEMENT[how](found)

    def number(self, domain: str, method: str, quantity: str) -> float | None:
        metric, _, how = quantity.partition(" ")
        if method.endswith(PUBLISHED):
            theirs = self.published.get(domain, {}).get(method.removesuffix(PUBLISHED), {})
            return theirs.get(metric, theirs.get(metric.removesuffix(MIDDLE)))
        if domain == MEAN:
            others = [name for name in self.axes["domain"] if name not in (MEAN, REFERENCE)]
            found = [each for name in others if (each := self.number(name, method, quantity)) is not None]
            return fmean(found) if found else None
        return self._ours(domain, method, metric, how)

    def _ours(self, domain: str, method: str, metric: str, how: str) -> float | None:
        if how == "off":
            return self.table.off(domain, method, metric)
        if how == "harmed":
            compared = self.table.against(domain, method, metric)
            return None if compared is None else compared.harmed
        if how in ("subjects", "gain"):
            return self._of_subjects(domain, method, metric, how)
        if how == "recovered":
            share = self.table.recovered(domain, method)
            return None if share is None else 100 * share.mean
        if how == "r2":
            return self.biology.get(domain, {}).get(method, {}).get(metric, {}).get(how)
        cell = self.table.cells.get((domain, method, metric))
        return cell.mean if cell is not None and cell.subjects else None

    def _of_subjects(self, domain: str, method: str, metric: str, how: str) -> float | None:
        values, baseline = (self.table.values.get((domain, name, metric), {}) for name in (method, BASELINE))
        gains = [value - baseline[subject] for subject, value in values.items() if subject in baseline]
        if how == "subjects":
            return len(values) or None
        return median(gains) if gains and method != BASELINE else None


def _digits(value: float, quantity: str, *, exact: bool = False) -> str:
    """As the vocabulary says; a paper's number as the paper has it."""
    metric, _, how = quantity.partition(" ")
    text = f"{value:.{_DIGITS.get(how, describe(metric).digits)}f}"
    return f"{value:g}" if exact and float(text) != value else text


def _title(axis: str, name: str) -> str:
    if axis != "show":
        theirs = f"*{name.removesuffix(PUBLISHED)}, published*"
        return _MEAN if name == MEAN else theirs if name.endswith(PUBLISHED) else name
    metric, _, how = name.partition(" ")
    return describe(metric).label + _HOW.get(how, f" {how}")


_AGREEMENT: Mapping[str, Callable[[Agreement], str]] = {
    "icc": lambda each: f"{each.icc.mean:.3f} [{each.icc.span(3)}]",
    "variation": lambda each: f"{each.variation.mean:.2f}",
    "apart": lambda each: f"{each.apart.mean:.2f}",
    "between": lambda each: f"{100 * each.between:.0f}",
}
_MEAN = "mean of the query scanners"
_HOW = {
    "": "",
    "interval": " [95 %]",
    "off": ", off by",
    "each": ", each subject",
    "harmed": ", harmed",
    "gain": " gain, median",
    "subjects": ", scored",
    "recovered": " back, %",
    "r2": " R2",
    "icc": ", ICC(2,1) [95 %]",
    "variation": ", CoV %",
    "apart": ", apart %",
    "between": ", of the scanner %",
}
_DIGITS = {"harmed": 0, "subjects": 0, "recovered": 0, "r2": 2}
