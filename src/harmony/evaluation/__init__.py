"""Methods before judges: every method on every query domain, per subject. It gets finished objects, never a config."""

from harmony.evaluation.cases import Case, Cut, EvaluationSettings, ScoredSlices, first_people
from harmony.evaluation.domains import QueryDomain, RealScanner, closest_pairs, examples, query_domains
from harmony.evaluation.panel import Panel, announce
from harmony.evaluation.scoring import Evaluation, measure
from harmony.evaluation.summary import summary

__all__ = [
    "Case",
    "Cut",
    "Evaluation",
    "EvaluationSettings",
    "Panel",
    "QueryDomain",
    "RealScanner",
    "ScoredSlices",
    "announce",
    "closest_pairs",
    "examples",
    "first_people",
    "measure",
    "query_domains",
    "summary",
]
