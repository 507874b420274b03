"""A learned scanner as a packed model: no flow in it, and no image."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harmony import __version__
from harmony.cohort.learning import LearnedScanner
from harmony.core import Scan
from harmony.core.model_card import WEIGHTS, ModelCard, domain
from harmony.core.packed_model import CONFIG, REFERENCE, About, Manifest, pack

TISSUE = "tissue"  # the stage whose folder it is: the network's, with another scanner's statistics
PRIOR = "prior.safetensors"


def pack_reference(
    out: Path, network: Path, learned: LearnedScanner, scans: Sequence[Scan], about: About, methods: Sequence[str]
) -> Manifest:
    """network: the run folder of the tissue network that the scanner was learned with."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in (WEIGHTS, CONFIG):
            shutil.copyfile(network / name, folder / name)
        learned.prior.save(folder / PRIOR)
        learned.reference.save(folder / REFERENCE)
        card = ModelCard.load(network)
        replace(card, name=about.name, version=__version__, reference=dict(domain(list(scans))), score={}).save(folder)
        return pack(out, {TISSUE: folder}, about, methods=methods)
