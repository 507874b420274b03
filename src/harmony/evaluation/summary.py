"""What a finished evaluation says of itself beside its rows, for summary.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harmony.analysis import agreements, biology, result_table
from harmony.core import Row
from harmony.data import SliceDataModule
from harmony.evaluation.cases import EvaluationSettings
from harmony.evaluation.domains import QueryDomain
from harmony.judges import Quality


def summary(
    rows: Sequence[Row],
    domains: Sequence[QueryDomain],
    qualities: Sequence[Quality],
    data: SliceDataModule,
    settings: EvaluationSettings,
) -> dict[str, Any]:
    """Who was scored and who was not, how good the judges are, and the means with their intervals."""
    table = result_table(rows)
    return {
        "subjects": {domain.name: len({case.subject for case in domain.cases}) for domain in domains},
        "skipped": skipped(data, settings.part),
        "left_out": [why for domain in domains for why in domain.left_out],
        "slices": "all",
        "adapt_on": settings.adapt_on,
        "judges": [asdict(each) for each in qualities],
        "biology": biology(rows),
        "agreement": agreements(table.values),
        "means": table.means(),
        "against_none": table.against_none(),
    }


def skipped(data: SliceDataModule, part: str) -> list[str]:
    """The scans of the scored part that could not be used (data.skip_bad=true)."""
    used = {volume.scan.name for volume in data.volumes(part)}
    return [scan.name for scan in data.split()[part] if scan.name not in used]
