"""The table of means on the screen."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from harmony.analysis import PUBLISHED, Interval, ResultTable
from harmony.core.margins import of_harm
from harmony.core.vocabulary import describe

# What the printed table shows, in this order; results.csv holds everything.
SHOWN = (
    "psnr", "psnr_middle", "psnr_brain", "psnr_brain_rim", "ssim", "ssim_middle", "bpd", "jitter", "dice", "hd95",
    "iou_wm", "age_error", "site_retrained", "lesion_contrast", "seconds",
)  # fmt: skip
WITHOUT_JUDGES = ("psnr_brain", "jitter", "seconds")  # they give their place to what the judges say
AS_PUBLISHED = ("psnr_middle", "ssim_middle", "iou_wm")  # shown beside a paper's only
JUDGED = ("dice", "age_error", "site_retrained")


def print_table(table: ResultTable, *, title: str, caption: str | None = None) -> None:
    """Domain by domain, a method a line, means; without judges, whose columns take the place, the PSNR's 95 % interval.

    The last column is the share of subjects that the method harmed, in Dice where a judge gave it, or else in PSNR
    (`core.margins`).
    """
    judged = any(map(table.has, JUDGED))
    left_out = [*WITHOUT_JUDGES] if judged else []
    published = {metric for _, method, metric in table.cells if method.endswith(PUBLISHED)}
    left_out += [metric for metric in AS_PUBLISHED if metric not in published]
    if "psnr_middle" in published:  # the paper's slices take the place
        left_out += ["psnr", "psnr_brain", "ssim"] + ["bpd"] * judged
    if table.has("psnr_brain_rim"):  # no room for both
        left_out.append("jitter")
    shown = {metric: describe(metric).label for metric in SHOWN if table.has(metric) and metric not in left_out}
    harm = next((metric for metric in ("dice", "psnr") if table.has(metric)), None)
    worse = ["worse"] if harm else []
    grid = Table(title=f"{title} (n={table.subjects})", title_justify="left")
    for label in ("query", "method", *shown.values(), *worse):
        name = label in ("query", "method")
        grid.add_column(label, justify="left" if name else "right", no_wrap=name)
    former = None
    for domain, method in dict.fromkeys(key[:2] for key in table.cells):
        if former not in (None, domain):
            grid.add_section()
        wide = None if judged or published else "psnr"
        cells = [cell_text(table.cells.get((domain, method, m)), m, interval=m == wide) for m in shown]
        if harm:
            harmed = table.against(domain, method, harm)
            cells.append("-" if harmed is None else f"{harmed.worse:.0%}")
        grid.add_row("" if domain == former else domain, method, *cells)
        former = domain
    notes = [f"worse: subjects with {of_harm(harm)}"] if harm else []
    if table.has("site_retrained"):
        notes.append("site: balanced accuracy of the retrained probe, 0.5 cannot tell")
    grid.caption, grid.caption_justify = "\n".join(filter(None, [caption, "; ".join(notes)])), "left"
    Console(width=None if sys.stdout.isatty() else 120).print(grid)


def cell_text(cell: Interval | None, metric: str, *, interval: bool) -> str:
    if cell is None:
        return "-"
    digits = describe(metric).digits
    spread = f"[{cell.span(digits)}]" if cell.known else "(too few)"
    return f"{cell.mean:.{digits}f}" + (f" {spread}" if interval and cell.subjects else "")
