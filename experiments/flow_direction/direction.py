"""Which way a flow's likelihood points: its bits per dimension against the amount of each alteration.

python experiments/flow_direction/direction.py part=val subjects=5 data.root=/path/to/ixi-hh plain=ixi-hh ranked=RUN

Each further word is `name=model`: a name of `harmony models`, a packed file or the run folder of a trained flow. The
slices are x + a (T(x) - x) of every sixth middle slice x of the people of a part, with the share a of an alteration T,
and their bits per dimension less those of x. Printed is a table of results.csv, with these metrics for each subject:

    bits_A    that difference at the share A
    rank      rank correlation of the subject's mean bits with the share (1: the more of it, the less likely)
    away_A    share of slices for which A of T makes the slice less likely
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from scipy.stats import spearmanr
from torch import Tensor

from harmony import app
from harmony.core import Volume
from harmony.core.models import resolve_model
from harmony.core.results import COLUMNS
from harmony.flows import ImageDensity

SHARES = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
STEPS = (0.1, 0.25)  # away from the truth
SCANNERS = ("exp", "log", "gamma_0.7", "gamma_1.3", "bias", "blur", "noise", "tissue", "mix")
KEPT_OUT = ("ghost", "gibbs", "thick", "coil", "reorder")  # kinds that no corruption draws from
EVERY = 6  # middle slices

Alteration = Callable[[Volume], Volume]


def alterations(cfg) -> dict[str, Alteration]:
    """Simulated scanners, and a gain."""

    def dark(volume: Volume) -> Volume:
        return replace(volume, image=0.85 * volume.image)

    return {"dark": dark} | {name: app.scanner(cfg, name) for name in (*SCANNERS, *KEPT_OUT)}


@torch.no_grad()
def bits(density: ImageDensity, clean: Tensor, altered: Tensor) -> Tensor:
    """(B, 1, H, W) -> (SHARES, B) bits per dimension, less those of the clean slices."""
    found = torch.stack([density.bits_per_dim(torch.lerp(clean, altered, share)) for share in SHARES])
    return found - found[0]


def measures(found: Tensor) -> dict[str, float]:
    """(SHARES, B) of a subject -> metric -> value."""
    rows = {f"bits_{share:g}": float(each.mean()) for share, each in zip(SHARES[1:], found[1:], strict=True)}
    rows["rank"] = float(spearmanr(SHARES, found.mean(1)).statistic)
    return rows | {f"away_{step:g}": float((found[SHARES.index(step)] > 0).float().mean()) for step in STEPS}


def measured(cfg, volumes: list[Volume], flows: dict[str, ImageDensity]) -> Iterator[tuple[object, ...]]:
    """Rows of results.csv."""
    for name, alteration in alterations(cfg).items():
        for volume in volumes:
            middle = volume.select(cfg.data.count, cfg.data.step)[::EVERY]
            clean, altered = (each.image[middle, None] for each in (volume, alteration(volume)))
            for flow, density in flows.items():
                for metric, value in measures(bits(density, clean, altered)).items():
                    yield flow, name, volume.scan.subject, volume.scan.name, metric, f"{value:.6g}"


def main(words: list[str]) -> None:
    own = [word for word in words if word.startswith(("data.", "part=", "subjects="))]
    named = dict(word.split("=", 1) for word in words if word not in own)
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=flow_direction", "+part=val", "+subjects=5", *own])
    places = {"runs": Path(cfg.runs), "cache": Path(cfg.cache).expanduser()}
    flows = {name: app.load_run(resolve_model(model, **places).home, "flow") for name, model in named.items()}
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(measured(cfg, app.build_data(cfg).volumes(cfg.part)[: cfg.subjects], flows))


if __name__ == "__main__":
    main(sys.argv[1:])
