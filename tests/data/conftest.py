from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    folder = Path(os.environ.get("HARMONY_REAL_DATA", Path(__file__).parents[2] / "../shared/data"))
    if not (folder / "ixi-hh").is_dir():
        pytest.skip("real scans not found: set HARMONY_REAL_DATA to the folder with ixi-hh and open-ms")
    return folder
