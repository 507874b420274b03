"""An inspection in plain values, for a table or a machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from harmony.data.inspection.dataset import Inspection, Problem

UNKNOWN = "unknown"


def summary(found: Inspection) -> dict[str, Any]:
    """What was found, as plain values: numbers, {"low", "high"} ranges and counts by value."""
    scans, looks = found.scans, found.looks
    ages = [scan.age for scan in scans if scan.age is not None]
    return {
        "scans": len(scans),
        "readable": len(looks),
        "subjects": len({scan.subject for scan in scans}),
        "sessions": len({(scan.subject, scan.session) for scan in scans}),
        "sites": _count(scan.site for scan in scans),
        "scanners": _count(scan.scanner for scan in scans),
        "age": _range(ages),
        "age missing": len(scans) - len(ages),
        "sex": _count(scan.sex for scan in scans),
        "voxel mm": _count(" x ".join(f"{side:g}" for side in look.voxel_mm) for look in looks),
        "shape": _count(" x ".join(map(str, look.shape)) for look in looks),
        "orientation": _count(look.orientation for look in looks),
        "dtype": _count(look.dtype for look in looks),
        "intensity": _range([value for look in looks for value in (look.low, look.high)]),
        "brain ml": _range([look.brain_ml for look in looks if look.brain_ml is not None]),
        "with mask": sum(scan.mask is not None for scan in scans),
        "with labels": sum(scan.labels is not None for scan in scans),
        "parts": {
            part: {"subjects": len({scan.subject for scan in chosen}), "scans": len(chosen)}
            for part, chosen in found.parts.items()
        },
    }


def as_json(found: Inspection) -> dict[str, Any]:
    """Everything, for machines: `ok`, the summary, errors, warnings, and a record of each readable scan."""
    return {
        "ok": not found.errors,
        "summary": summary(found),
        "errors": [_plain(problem) for problem in found.errors],
        "warnings": [_plain(problem) for problem in found.warnings],
        "left_out": [_plain(problem) for problem in found.left_out],
        "scans": [
            {"name": look.scan.name, "file": str(look.scan.path)}
            | {key: value for key, value in vars(look).items() if key != "scan"}
            for look in found.looks
        ],
    }


def _count(values: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(UNKNOWN if value is None else value for value in values).most_common())


def _range(values: list[float]) -> dict[str, float] | None:
    return {"low": min(values), "high": max(values)} if values else None


def _plain(problem: Problem) -> dict[str, str | None]:
    path = None if problem.path is None else str(problem.path)
    return {"subject": problem.subject, "file": path, "problem": problem.problem, "cure": problem.cure}
