"""Result records into tables and figures; never computes a metric of an image."""

from harmony.reports.figures import Panel, comparison_figure, trajectory_figure
from harmony.reports.tables import ResultTable, print_table, result_table

__all__ = ["Panel", "ResultTable", "comparison_figure", "print_table", "result_table", "trajectory_figure"]
