"""Histogram matching to the pooled intensities of the reference domain."""

from __future__ import annotations

from harmony.core import Harmonized, Stack
from harmony.core.reference import Reference
from harmony.methods.base import Method


class HistogramMatching(Method):
    """x_h = F_ref^-1(F_query(x)) inside the brain, per volume: `Reference.match`."""

    def __init__(self, *, reference: Reference) -> None:
        self.reference = reference

    def harmonize(self, stack: Stack) -> Harmonized:
        return Harmonized(self.reference.match(stack))
