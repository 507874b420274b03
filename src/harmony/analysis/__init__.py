"""Numbers out of rows: means with intervals, paired comparisons, tables; reports only draw and word them."""

from harmony.analysis.agreement import Agreement, agreement, agreements
from harmony.analysis.biology import biology
from harmony.analysis.comparison import Comparison, Entry, Group, Test, compare
from harmony.analysis.intervals import Interval, mean_interval, ratio
from harmony.analysis.paired import Against, against, holm, recovered
from harmony.analysis.relations import Relation, relation, slope_within
from harmony.analysis.runs import EvaluatedRun, Found, find_runs
from harmony.analysis.sweeps import SweepJob
from harmony.analysis.table import BASELINE, PUBLISHED, Cell, ResultTable, best, pooled, result_table

__all__ = [
    "BASELINE",
    "PUBLISHED",
    "Against",
    "Agreement",
    "Cell",
    "Comparison",
    "Entry",
    "EvaluatedRun",
    "Found",
    "Group",
    "Interval",
    "Relation",
    "ResultTable",
    "SweepJob",
    "Test",
    "against",
    "agreement",
    "agreements",
    "best",
    "biology",
    "compare",
    "find_runs",
    "holm",
    "mean_interval",
    "pooled",
    "ratio",
    "recovered",
    "relation",
    "result_table",
    "slope_within",
]
