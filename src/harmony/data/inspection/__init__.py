"""What a data set holds, and all that is wrong with it."""

from harmony.data.inspection.dataset import Inspection, Intent, Problem, inspect
from harmony.data.inspection.findings import as_json, summary

__all__ = ["Inspection", "Intent", "Problem", "as_json", "inspect", "summary"]
