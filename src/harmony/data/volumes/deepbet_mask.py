"""Brain masks by deepbet (Fisch et al., Computers in Biology and Medicine 179, 2024), which is installed with harmony.

Its two networks are TorchScript: programs, not only numbers. They are opened only if they are the very files that
harmony knows.
"""

from __future__ import annotations

import hashlib
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform

from harmony.core import ConfigError
from harmony.core.machine import device
from harmony.data.volumes.nifti import Nifti

if TYPE_CHECKING:
    from deepbet import BrainExtraction

# SHA-256 of the networks of deepbet 1.0.2: one finds where the head is, the other its brain.
DIGESTS = {
    "model.pt": "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
    "bbox_model.pt": "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
}
INSIDE = 0.5  # probability, deepbet's own threshold
RAS = np.array([[0, 1], [1, 1], [2, 1]])


class NoBrainError(ValueError):
    """There is nothing in the image that deepbet takes for a brain."""


def deepbet_mask(native: Nifti) -> np.ndarray:
    """(X, Y, Z) bool on the grid of the file, pieces and all. Raises NoBrainError, or ConfigError for another file in
    place of a network."""
    extraction = _extraction()
    standing = io_orientation(native.affine)
    upright = np.ascontiguousarray(apply_orientation(native.data, standing))
    try:
        inside = extraction.run_model(upright) > INSIDE
    except (AssertionError, ValueError) as error:  # it takes the largest of no parts, or the box around nothing
        raise NoBrainError from error
    return apply_orientation(inside, ornt_transform(RAS, standing))


def known(path: Path) -> io.BytesIO:
    """The bytes of a network, if they are the ones that harmony knows: read once, so what was checked is what is
    opened. Raises ConfigError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}) -> pip install deepbet==1.0.2") from error
    if hashlib.sha256(data).hexdigest() != DIGESTS[path.name]:
        problem = f"{path}: not the network that harmony knows, and not opened"
        raise ConfigError(f"{problem} -> pip install --force-reinstall --no-deps deepbet==1.0.2")
    return io.BytesIO(data)


@cache
def _extraction() -> BrainExtraction:
    from deepbet import BrainExtraction
    from deepbet.utils import DATA_PATH

    model, bbox_model = (known(Path(DATA_PATH) / "models" / name) for name in DIGESTS)
    return BrainExtraction(no_gpu=device().type == "cpu", model_path=model, bbox_model_path=bbox_model)
