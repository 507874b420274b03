"""Histogram matching to the pooled intensities of the reference domain."""

from __future__ import annotations

from harmony.core import Harmonized, Stack
from harmony.core.reference import Reference, curved
from harmony.methods.base import Method


class HistogramMatching(Method):
    """x_h = F_ref^-1(F_query(x)) inside the brain, per volume: `Reference.curve`."""

    def __init__(self, *, reference: Reference) -> None:
        self.reference = reference

    def harmonize(self, stack: Stack) -> Harmonized:
        curve = self.reference.curve(stack)
        return Harmonized(curved(stack, curve), curve=curve)
