"""The verb of the project: harmonize the slices of one volume."""

from __future__ import annotations

from abc import ABC, abstractmethod

from harmony.core import Harmonized, Stack


class Method(ABC):
    """A way to map a query volume into the reference domain.

    What it learned from the reference domain comes in through its constructor. `harmonize` is deterministic, keeps
    the background at 0 and the image in [0, 1], and may be called with gradients switched off.
    """

    @abstractmethod
    def harmonize(self, stack: Stack) -> Harmonized:
        """Harmonize the slices of one volume. They share whatever the method estimates per volume."""
