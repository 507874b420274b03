"""A method with all that applying it to somebody's scans takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmony.core.model_card import ModelCard
from harmony.data import Preprocess
from harmony.methods import Method

if TYPE_CHECKING:
    from harmony.flows import ImageDensity


@dataclass(frozen=True)
class Applied:
    """name: of the model, as people ask for it. weights: changes with any learned file that a result may depend on.
    density: None where neither the method nor a score asks for the flow."""

    name: str
    method: Method
    density: ImageDensity | None
    preprocess: Preprocess
    card: ModelCard
    weights: str
