"""A harmonizer that was never adapted, in the middle of the brain and at its rim.

python experiments/flow_direction/rim.py data.root=/path/to/ixi-hh part=test subjects=3 all_slices=RUN

Each further word is `name=RUN`, the run folder of a trained harmonizer. Printed is a table of results.csv: PSNR (dB)
inside the brain in the middle slices and in those before and after them, of people of a part under simulated scanners.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from harmony import app
from harmony.core import Volume
from harmony.core.results import COLUMNS
from harmony.metrics import psnr

SCANNERS = (None, "exp", "log", "gamma_0.7", "gamma_1.3", "tissue", "bias", "blur", "noise", "mix")


@torch.no_grad()
def scores(cfg, harmonizer: torch.nn.Module, truth: Volume, query: Volume) -> dict[str, float]:
    image, mask = query.image[:, None], truth.mask[:, None]
    output = torch.cat([harmonizer(part).apply(part) for part in image.split(16)]).clamp(0, 1)
    middle = truth.select(cfg.data.count, cfg.data.step)
    every = torch.arange(len(image))
    places = {"middle": middle, "rim": every[(every < middle.min()) | (every > middle.max())]}
    return {
        f"psnr_brain_{place}": psnr(output[k], truth.image[k, None], mask[k])
        for place, k in places.items()
        if mask[k].any()
    }


def measured(cfg, volumes: list[Volume], harmonizers: dict[str, torch.nn.Module]) -> Iterator[tuple[object, ...]]:
    """Rows of results.csv."""
    for name in SCANNERS:
        for volume in volumes:
            query = volume if name is None else app.scanner(cfg, name)(volume)
            for method, harmonizer in harmonizers.items():
                for metric, value in scores(cfg, harmonizer, volume, query).items():
                    who = volume.scan.subject, volume.scan.name
                    yield method, name or "reference", *who, metric, f"{value:.6g}"
        sys.stdout.flush()


def main(words: list[str]) -> None:
    own = [word for word in words if word.startswith(("data.", "part=", "subjects="))]
    named = dict(word.split("=", 1) for word in words if word not in own)
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=flow_direction", "+part=val", "+subjects=3", *own])
    harmonizers = {name: app.load_run(Path(run), "harmonizer") for name, run in named.items()}
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(measured(cfg, app.build_data(cfg).volumes(cfg.part)[: cfg.subjects], harmonizers))


if __name__ == "__main__":
    main(sys.argv[1:])
