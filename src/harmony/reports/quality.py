"""A page to look through what was done to each scan: one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from torch import Tensor

from harmony.core.files import write_atomic
from harmony.reports.figures import save, upright

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
{% include "style.css" %}

body { max-width: 60rem; }
img { width: 100%; background: #fff; }
</style>
<h1>{{ title }}</h1>
<p>{{ scans | length }} scans harmonized{% if bad %}, {{ bad | length }} not{% endif %}.
bpd: bits per dimension under the reference flow; smaller is likelier on the reference scanner.</p>
{% if bad %}<h2>Not harmonized</h2>
<ul>{% for line in bad %}<li class="worse">{{ line }}</li>{% endfor %}</ul>{% endif %}
{% for scan in scans %}
<h2 id="{{ scan.name }}">{{ scan.name }}</h2>
<p>bpd {{ "%.3f" | format(scan.before) }} before, {{ "%.3f" | format(scan.after) }} after
{% if scan.after > scan.before %}<span class="worse">less likely than the scan itself: look at it</span>{% endif %}
</p>
{% if scan.picture %}<img alt="{{ scan.name }}, before and after"
src="data:image/png;base64,{{ scan.picture }}">{% endif %}
{% endfor %}
</html>
"""


@dataclass(frozen=True)
class QualityEntry:
    """One scan: bits per dimension before and after, and its picture (a PNG file)."""

    name: str
    before: float
    after: float
    figure: Path


def before_after_figure(path: Path, before: Tensor, after: Tensor, *, title: str) -> None:
    """Three slices (a quarter, half, three quarters of the way): before, after, and the change on a scale of +-0.3.

    before, after: (S, H, W) in [0, 1].
    """
    picks = [len(before) * k // 4 for k in (1, 2, 3)]
    figure = Figure(figsize=(9, 3 * len(picks)), layout="constrained")
    for axes, k in zip(figure.subplots(len(picks), 3, squeeze=False), picks, strict=True):
        axes[0].imshow(upright(before[k]), cmap="gray", vmin=0, vmax=1)
        axes[1].imshow(upright(after[k]), cmap="gray", vmin=0, vmax=1)
        axes[2].imshow(upright(after[k] - before[k]), cmap="RdBu_r", vmin=-0.3, vmax=0.3)
        for axis, name in zip(axes, ("before", "after", "change"), strict=True):
            axis.set_title(f"{name}, slice {k}", fontsize=9)
            axis.axis("off")
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def quality_page(path: Path, entries: Sequence[QualityEntry], bad: Sequence[str], *, title: str) -> None:
    """Write the page; `bad` are the messages of scans that could not be harmonized."""
    scans = [
        {
            "name": entry.name,
            "before": entry.before,
            "after": entry.after,
            "picture": base64.b64encode(entry.figure.read_bytes()).decode() if entry.figure.exists() else None,
        }
        for entry in entries
    ]
    page = Environment(loader=PackageLoader("harmony", "reports"), autoescape=True).from_string(PAGE)
    write_atomic(path, page.render(title=title, scans=scans, bad=bad))
