"""Small charts as inline SVG: text stays text, colours come from the page's style sheet, each fits a phone.

Every chart is WIDTH units wide and says on hover what a mark is. A series' colour is its CSS class (`c0`, `c1`, ...,
`query`, `truth`), see page.html.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

from harmony.analysis import Interval

WIDTH = 340
LINE = 13  # from one line of words to the next
LEFT, RIGHT = 40, 10  # margins of charts with a vertical axis


class Series(NamedTuple):
    """A name, its CSS class, and what is drawn of it."""

    name: str
    style: str
    x: Sequence[float]
    y: Sequence[float]
    mark: int | None = None  # index of a point to ring


class Bar(NamedTuple):
    name: str
    style: str
    interval: Interval


class Pair(NamedTuple):
    """Subject -> (without, with) a method."""

    name: str
    style: str
    subjects: dict[str, tuple[float, float]]


class Sample(NamedTuple):
    name: str
    style: str
    values: Sequence[float]


class Scale:
    """A linear map from values to units of the drawing, with ticks at round numbers."""

    def __init__(self, low: float, high: float, start: float, end: float, *, ticks: int = 5) -> None:
        if high <= low:
            low, high = low - 0.5, high + 0.5
        self.low, self.high, self.start, self.end = low, high, start, end
        found = MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        self.ticks = [float(t) for t in found if low - 1e-9 * (high - low) <= t <= high + 1e-9 * (high - low)]

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)


def end(cell: Interval) -> float:
    """The highest that is drawn of it."""
    return cell.high if cell.known else cell.mean


def bars(rows: Sequence[Bar], digits: int, *, high: float) -> Markup:
    """A bar per row from 0 to its mean, a line over its 95 % interval; the axis ends at `high` (or at 0)."""
    low = min(0.0, *(row.interval.low if row.interval.known else row.interval.mean for row in rows))
    x = Scale(low, max(high, low + 1e-9), 0, WIDTH)
    parts = []
    said = [f"{row.interval.mean:.{digits}f} [{row.interval.span(digits)}]" for row in rows]
    heads = [_head(row.name, words) for row, words in zip(rows, said, strict=True)]
    under = LINE * (max(map(len, heads)) - 1)
    tall = 34 + under
    for k, (row, head) in enumerate(zip(rows, heads, strict=True)):
        y, cell = tall * k + under, row.interval
        start, end = sorted((x(0), x(cell.mean)))
        parts += [
            *_written(head, y + 11),
            Markup('<rect class="{} fill" x="{}" y="{}" width="{:.2f}" height="11" rx="2"/>').format(
                row.style, start, y + 16, end - start
            ),
        ]
        if cell.known:
            parts.append(
                Markup('<path class="whisker" d="M{0} {2}V{3}M{0} {4}H{1}M{1} {2}V{3}"/>').format(
                    x(cell.low), x(cell.high), y + 18, y + 25, y + 21.5
                )
            )
    return _svg(parts, tall * len(rows), "mean and 95 % interval")


def pairs(rows: Sequence[Pair], higher_is_better: bool, digits: int) -> Markup:
    """A line per subject from its value without (left) to with (right) the method; as many methods side by side as have
    room for the longest word of their names, at most four."""
    everything = [value for row in rows for both in row.subjects.values() for value in both]
    low, high = min(everything), max(everything)
    room = 0.05 * (high - low)
    longest = max(_width(word) for row in rows for word in row.name.split())
    inside = WIDTH - LEFT - RIGHT
    columns = min(len(rows), next((n for n in (4, 3, 2) if longest + 6 <= inside / n), 1))
    parts, width = [], inside / columns
    names = [_wrapped(row.name, width - 6) for row in rows]
    most = max(map(len, names))
    tall = 140 + LINE * most
    for k, row in enumerate(rows):
        top, left = tall * (k // columns), LEFT + width * (k % columns)
        y = Scale(low - room, high + room, top + 118, top + 6)
        if k % columns == 0:
            parts += _y_axis(y, digits)
        a, b = left + 0.25 * width, left + 0.75 * width
        up = 0
        for subject, (before, after) in row.subjects.items():
            better = (after > before) == higher_is_better
            up += better and after != before
            style = "same" if after == before else "better" if better else "worse"
            parts.append(
                Markup(
                    '<g class="{0} pair"><title>{1}: {2:.{7}f} → {3:.{7}f}</title><path d="M{4} {5}L{6} {8}"/>'
                    '<circle cx="{4}" cy="{5}" r="2.5"/><circle cx="{6}" cy="{8}" r="2.5"/></g>'
                ).format(style, subject, before, after, round(a, 2), y(before), round(b, 2), digits, y(after))
            )
        middle = round(left + width / 2, 2)
        for line, words in enumerate([*names[k], f"{up} of {len(row.subjects)}"]):
            kind = "middle" if line < len(names[k]) else "middle small"
            parts.append(
                Markup('<text class="{}" x="{}" y="{}">{}</text>').format(kind, middle, top + 132 + LINE * line, words)
            )
    return _svg(parts, tall * -(-len(rows) // columns), "each line a subject, without and with the method")


def histograms(rows: Sequence[Sample], digits: int, *, bins: int = 24) -> Markup:
    """A histogram of counts per row on one axis; a tick at the mean."""
    everything = np.concatenate([np.asarray(row.values, dtype=float) for row in rows])
    room = 0.03 * max(float(np.ptp(everything)), 1e-6)
    x = Scale(float(everything.min()) - room, float(everything.max()) + room, 0, WIDTH)
    counts = [np.histogram(row.values, bins, (x.low, x.high))[0] for row in rows]
    tallest = max(int(each.max()) for each in counts)
    wide = WIDTH / bins
    means = [float(np.mean(row.values)) for row in rows]
    heads = [_head(row.name, f"mean {mean:.{digits}f}") for row, mean in zip(rows, means, strict=True)]
    under = LINE * (max(map(len, heads)) - 1)
    parts = []
    for k, (row, count, mean) in enumerate(zip(rows, counts, means, strict=True)):
        floor = (48 + under) * k + 42 + under
        parts += _written(heads[k], floor - 31)
        for place in np.flatnonzero(count):
            height = round(26 * count[place] / tallest, 2)
            parts.append(
                Markup('<rect class="{} fill" x="{:.2f}" y="{}" width="{:.2f}" height="{}"/>').format(
                    row.style, place * wide + 0.5, floor - height, wide - 1, height
                )
            )
        parts.append(Markup('<path class="axis" d="M0 {0}H{1}"/>').format(floor, WIDTH))
        parts.append(Markup('<path class="whisker" d="M{0} {1}V{2}"/>').format(x(mean), floor - 28, floor + 3))
    bottom = (48 + under) * len(rows)
    parts += _x_ticks(x, bottom + 12)
    return _svg(parts, bottom + 16, "counts of subjects")


def lines(rows: Sequence[Series], *, x_label: str, from_zero: bool = False) -> Markup:
    """A line per series; a gap where a value is not finite."""
    xs = np.concatenate([np.asarray(row.x, dtype=float) for row in rows])
    ys = np.concatenate([np.asarray(row.y, dtype=float) for row in rows])
    ys = ys[np.isfinite(ys)]
    low, high = (float(ys.min()), float(ys.max())) if len(ys) else (0.0, 1.0)
    y = Scale(0 if from_zero else low, high, 150, 8, ticks=4)
    x = Scale(float(xs.min()), float(xs.max()), LEFT, WIDTH - RIGHT)
    parts = [
        *_y_axis(y),
        *_x_ticks(x, 164),
        Markup('<text class="end small" x="{}" y="178">{}</text>').format(WIDTH - RIGHT, x_label),
    ]
    for row in rows:
        path, pen = "", "M"
        for a, b in zip(row.x, row.y, strict=True):
            path, pen = (path, "M") if not np.isfinite(b) else (f"{path}{pen}{x(a)} {y(b)}", "L")
        parts.append(Markup('<path class="{} line" d="{}"><title>{}</title></path>').format(row.style, path, row.name))
        if row.mark is not None and np.isfinite(row.y[row.mark]):
            parts.append(
                Markup('<circle class="{} ring" cx="{}" cy="{}" r="4.5"><title>{}: kept</title></circle>').format(
                    row.style, x(row.x[row.mark]), y(row.y[row.mark]), row.name
                )
            )
    return _svg(parts, 182, x_label)


def _width(words: str) -> float:
    """About what a text takes at 11 px, in units of the drawing: no browser is here to ask."""
    return 6.4 * len(words)


def _wrapped(name: str, width: float) -> list[str]:
    return textwrap.wrap(name, max(1, int(width / _width("x"))), break_on_hyphens=False) or [""]


def _head(name: str, words: str) -> list[tuple[str, str]]:
    """Lines of what stands on the left and on the right: the name, and where there is room for them the words."""
    lines = [(line, "") for line in _wrapped(name, WIDTH)]
    if _width(lines[-1][0]) + _width(words) > WIDTH - 12:
        lines.append(("", ""))
    return [*lines[:-1], (lines[-1][0], words)]


def _written(head: Sequence[tuple[str, str]], last: float) -> list[Markup]:
    """The lines of a head, the last one at y = `last`."""
    parts = []
    for line, (left, right) in enumerate(reversed(head)):
        at = last - LINE * line
        parts += [Markup('<text x="0" y="{}">{}</text>').format(at, left)] * bool(left)
        parts += [Markup('<text class="end" x="{}" y="{}">{}</text>').format(WIDTH, at, right)] * bool(right)
    return parts


def _svg(parts: Sequence[Markup], height: float, label: str) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, label, Markup("").join(parts)
    )


def _y_axis(y: Scale, digits: int | None = None) -> list[Markup]:
    parts = []
    for tick in y.ticks:
        words = (
            f"{tick:g}"
            if digits is None
            else f"{tick:.{min(digits, 3)}f}".rstrip("0").rstrip(".")
            if digits
            else f"{tick:.0f}"
        )
        parts += [
            Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, y(tick), WIDTH - RIGHT),
            Markup('<text class="end small" x="{}" y="{}">{}</text>').format(LEFT - 5, y(tick) + 3.5, words),
        ]
    return parts


def _x_ticks(x: Scale, at: float) -> list[Markup]:
    return [
        Markup('<text class="{} small" x="{}" y="{}">{:g}</text>').format(
            "end" if x(tick) > WIDTH - 12 else "middle" if x(tick) > 12 else "start", x(tick), at, tick
        )
        for tick in x.ticks
    ]


def legend(names: Sequence[tuple[str, str]]) -> Markup:
    """(name, style) as coloured words."""
    return Markup("").join(
        Markup(
            '<span><svg viewBox="0 0 22 8" class="swatch"><path class="{} line" d="M1 4H21"/></svg>{}</span>'
        ).format(style, escape(name))
        for name, style in names
    )
