"""What a method found out about a scan, beside the image: a result of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


class Report(ABC):
    """Numbers for tables and sidecars, words for people.

    Only the report knows its own name: what writes tables, sidecars and pages asks it for all three.
    """

    @abstractmethod
    def numbers(self) -> dict[str, float]:
        """Metric of a result row -> value; without what nobody looked at."""

    @abstractmethod
    def words(self) -> list[tuple[str, str]]:
        """Name and value, for people, in the order in which they want to be read."""

    @abstractmethod
    def sidecar(self) -> dict[str, Any]:
        """The entries of a sidecar (JSON): numbers and words."""

    @property
    def left_alone(self) -> str | None:
        """Why the scan was returned as it is, to stand behind "as"; None where it was not."""
        return None


class NamedReport(Report):
    """A report whose entries stand under one name: `plain` says what they are.

    name: of the sidecar's entry, `Scanner`; in small letters the family of its metrics, `scanner_noise`.
    """

    name: ClassVar[str]

    @abstractmethod
    def plain(self) -> dict[str, float | str]:
        """Every entry; without what nobody looked at."""

    def numbers(self) -> dict[str, float]:
        return {f"{self.name.lower()}_{key}": v for key, v in self.plain().items() if not isinstance(v, str)}

    def sidecar(self) -> dict[str, Any]:
        return {self.name: self.plain()}


@dataclass(frozen=True)
class Steps(Report):
    """The reports of methods that were applied one after the other: step -> report, None of a step without.

    Where several steps report, everything carries the name of its step. The scan was left alone where every step left
    it alone.
    """

    steps: Mapping[str, Report | None]

    def numbers(self) -> dict[str, float]:
        return {
            (f"{step}_{name}" if self._several else name): value
            for step, report in self._reports.items()
            for name, value in report.numbers().items()
        }

    def words(self) -> list[tuple[str, str]]:
        return [
            (f"{step}: {name}" if self._several else name, value)
            for step, report in self._reports.items()
            for name, value in report.words()
        ]

    def sidecar(self) -> dict[str, Any]:
        entries = {step: report.sidecar() for step, report in self._reports.items()}
        return {"Steps": entries} if self._several else next(iter(entries.values()), {})

    @property
    def left_alone(self) -> str | None:
        reasons = [report.left_alone for report in self._reports.values()]
        told = [reason for reason in reasons if reason is not None]
        return "; ".join(dict.fromkeys(told)) if told and len(told) == len(self.steps) else None

    @property
    def _reports(self) -> dict[str, Report]:
        return {step: report for step, report in self.steps.items() if report is not None}

    @property
    def _several(self) -> bool:
        return len(self._reports) > 1
