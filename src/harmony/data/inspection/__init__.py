"""What a data set holds, and all that is wrong with it."""

from harmony.data.inspection.dataset import Inspection, Problem, inspect
from harmony.data.inspection.findings import as_json, summary

__all__ = ["Inspection", "Problem", "as_json", "inspect", "summary"]
