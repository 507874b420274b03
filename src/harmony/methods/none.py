"""The query image itself: what every method is compared with."""

from __future__ import annotations

from harmony.core import Harmonized, Stack
from harmony.methods.base import Method


class Unharmonized(Method):
    def harmonize(self, stack: Stack) -> Harmonized:
        return Harmonized(stack.image)
