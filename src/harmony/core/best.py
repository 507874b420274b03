"""Which method a model is asked for where nobody says one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from harmony.core.runs import stages_of

# The best first, by the records (experiments/ixi_inversion, ixi_unseen, ixi_random); the last one needs no network.
BEST_FIRST = ("scanner_inversion", "histogram_matching")


def best_of(config_of: Callable[[str], Mapping[str, Any]], stages: Collection[str]) -> str:
    """The first of `BEST_FIRST` whose trained networks are all among the stages of a model. config_of: of a method."""
    return next(name for name in BEST_FIRST if set(stages_of(config_of(name))) <= set(stages))
