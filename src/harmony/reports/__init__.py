"""Result records into tables and figures; never computes a metric of an image."""

from harmony.reports.figures import (
    AdaptationCurves,
    Panel,
    adaptation_figure,
    comparison_figure,
    curves_figure,
    trajectory_figure,
    upright,
)
from harmony.reports.kept import keep
from harmony.reports.page import report_page
from harmony.reports.quality import QualityEntry, before_after_figure, quality_page
from harmony.reports.sweeps import SweepJob, print_sweep
from harmony.reports.tables import ResultTable, print_table, result_table

__all__ = [
    "AdaptationCurves",
    "Panel",
    "QualityEntry",
    "ResultTable",
    "SweepJob",
    "adaptation_figure",
    "before_after_figure",
    "comparison_figure",
    "curves_figure",
    "keep",
    "print_sweep",
    "print_table",
    "quality_page",
    "report_page",
    "result_table",
    "trajectory_figure",
    "upright",
]
