"""Result records drawn and worded: tables, figures, a page. Their numbers come from `analysis`."""

from harmony.reports.before_after import PlanePicture, before_after_figure
from harmony.reports.figures import (
    AdaptationCurves,
    Overlay,
    Panel,
    adaptation_figure,
    box_figure,
    comparison_figure,
    curves_figure,
    overlay_figure,
    trajectory_figure,
)
from harmony.reports.kept import keep, read_brain, read_panels
from harmony.reports.page import report_page
from harmony.reports.quality import QualityEntry, quality_page
from harmony.reports.records import refresh
from harmony.reports.sweeps import print_sweep
from harmony.reports.tables import print_table

__all__ = [
    "AdaptationCurves",
    "Overlay",
    "Panel",
    "PlanePicture",
    "QualityEntry",
    "adaptation_figure",
    "before_after_figure",
    "box_figure",
    "comparison_figure",
    "curves_figure",
    "keep",
    "overlay_figure",
    "print_sweep",
    "print_table",
    "quality_page",
    "read_brain",
    "read_panels",
    "refresh",
    "report_page",
    "trajectory_figure",
]
