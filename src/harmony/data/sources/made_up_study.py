"""A small made-up study, to try `harmony study` on: python -m harmony.data.sources.made_up_study FOLDER

Three scanners of atlas subjects, a BIDS folder each: A; B, where the same people were; C, with people of its own. It
shows what a study gives; no conclusion about scanners or people may be drawn from it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harmony.data.sources.sites import SimulatedSites

PEOPLE = {"A": 8, "B": 3, "C": 3}  # the least that a reference takes, and of whom anything can be told
SCANNERS = {
    "A": {"bias": 0.05, "noise": 0.015},
    "B": {"tissue": 0.12, "bias": 0.30, "noise": 0.040},
    "C": {"tissue": 0.06, "bias": 0.12, "noise": 0.025},
}


def made_up_study(folder: Path, *, resolution: int = 2) -> list[str]:
    """Write the sites that are not there yet; their names. resolution: side of a voxel in mm."""
    folder.mkdir(parents=True, exist_ok=True)
    for site, people in PEOPLE.items():
        if (folder / site).exists():
            continue
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
            made = SimulatedSites(
                temporary, sites=[site], scanners=SCANNERS, variation=0.1, travelling=site != "C", subjects=people,
                seed=1, resolution=resolution, percentile=99.5,
            ).scans()  # fmt: skip
            made[0].path.parents[3].rename(folder / site)  # of its subject, session, anat
    return list(PEOPLE)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Three made-up sites as BIDS folders, to try `harmony study` on.")
    parser.add_argument("folder", type=Path, help="where the sites go; those that are there stay")
    root = parser.parse_args(words).folder
    print(f"made-up sites {', '.join(made_up_study(root))} in {root}")


if __name__ == "__main__":
    main()
