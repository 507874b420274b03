"""harmony: make T1-weighted brain MRI from several scanners comparable, with normalizing flows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmony.delivery.in_python import Harmonizer

__version__ = "0.1.0"
# Before torch is imported. Its threads wait for each other by spinning, and beside another job each step then takes
# twice as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def load(model: str | None = None, *, method: str | None = None) -> Harmonizer:
    """A model with a method, to harmonize images with: `harmony.load("ixi-hh").harmonize(image)`.

    model: a packed file, a run folder, or a name of `harmony models`; None: the one that is installed. method: a name
    of conf/method; None: the best that the model serves. See docs/python.md.
    """
    from harmony.delivery.in_python import load as load_harmonizer  # seconds: torch and all that stands on it

    return load_harmonizer(model, method=method)
