"""Is the biology still there? Ages and tissue volumes as the judges see them, over subjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from harmony.analysis.table import result_table
from harmony.core import Row


def biology(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """domain -> method -> what became of age and volumes, for summary.json.

    age: `mae`, `r2` = 1 - sum (predicted - true)^2 / sum (true - mean true)^2, and `bias_per_year`, the slope of the
    signed error by true age (below 0: the young are made older and the old younger).
    NAME_ml_per_year: the slope of that structure's volume by true age.
    Only methods of which both ages and what is asked for are known; nothing for fewer than three subjects.
    """
    values = result_table(rows).values
    found: dict[str, dict[str, dict[str, Any]]] = {}
    known = {domain: _ages(values, domain) for domain in {domain for domain, _, _ in values}}
    for (domain, method, metric), by_subject in values.items():
        ages = known[domain]
        common = [subject for subject in by_subject if subject in ages]
        x, y = [ages[subject] for subject in common], [by_subject[subject] for subject in common]
        fitted = slope(x, y)
        if fitted is None:
            continue
        kept = found.setdefault(domain, {}).setdefault(method, {})
        if metric == "age_signed_error":
            errors = np.asarray(y)
            r2 = 1 - float((errors**2).sum() / ((np.asarray(x) - np.mean(x)) ** 2).sum())
            kept["age"] = {"mae": float(np.abs(errors).mean()), "r2": r2, "bias_per_year": fitted}
        elif metric.startswith("volume_"):
            name = metric.removeprefix("volume_").removesuffix("_ml")
            kept[f"{name}_ml_per_year"] = fitted
    return {domain: {name: kept for name, kept in methods.items() if kept} for domain, methods in found.items()}


def _ages(values: Mapping[tuple[str, str, str], Mapping[str, float]], domain: str) -> dict[str, float]:
    """True ages: predicted - signed error, the same by every method."""
    for (where, method, metric), errors in values.items():
        if where == domain and metric == "age_signed_error":
            predicted = values[domain, method, "age_predicted"]
            return {subject: predicted[subject] - error for subject, error in errors.items()}
    return {}


def slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Of the least-squares line of y by x; None for fewer than three points, or where all x are the same."""
    return None if len(x) < 3 or np.ptp(x) == 0 else float(np.polyfit(x, y, 1)[0])
