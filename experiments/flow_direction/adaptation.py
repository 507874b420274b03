"""The adaptation of Harmonizing Flows under several flows, pass by pass, on people of a part.

python experiments/flow_direction/adaptation.py part=val subjects=2 data.root=/path/to/ixi-hh harmonizer=RUN \
    rates=1,0.1 jacobian=0 plain=ixi-hh ranked=RUN

Each further word is `name=model`, as of direction.py. The harmonizer is adapted to the middle slices of these people
together, `passes` times, at each of the shares `rates` of the published rate. Printed is a table of results.csv: the
method is the flow and the share of the rate, and its metrics `pass_0`, `pass_1` ... are the PSNR (dB) inside the brain
of a subject's middle slices before the first pass and after each, `bits_0`, `bits_1` ... the mean bits per dimension of
all that is adapted to.
"""

from __future__ import annotations

import csv
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from harmony import app
from harmony.core import Stack, Volume
from harmony.core.models import resolve_model
from harmony.core.reference import Reference
from harmony.core.results import COLUMNS
from harmony.methods import Budget, HarmonizingFlows
from harmony.metrics import psnr

SCANNERS = (None, "exp", "log", "tissue", "blur", "noise", "mix")
OWN = ("data.", "part=", "subjects=", "passes=", "rates=", "jacobian=", "harmonizer=")
DEFAULTS = ["+part=val", "+subjects=2", "+passes=4", "+rates='1'", "+jacobian=0", "+harmonizer=null"]


def middle(cfg, volume: Volume) -> Stack:
    return volume.stack(volume.select(cfg.data.count, cfg.data.step))


def adapted(
    cfg, method: HarmonizingFlows, truths: list[Volume], queries: list[Volume]
) -> Iterator[tuple[str, str, float]]:
    """Subject, metric, value: of every pass."""
    pairs = [
        (volume.scan.subject, middle(cfg, volume), middle(cfg, query))
        for volume, query in zip(truths, queries, strict=True)
    ]
    found: list[tuple[str, str, float]] = []

    def watch(k: int) -> None:
        for subject, truth, query in pairs:
            found.append((subject, f"pass_{k}", psnr(method.harmonize(query).image, truth.image, truth.mask)))

    method.reset()
    trajectory = method.adapt([query for _, _, query in pairs], watch).trajectory
    bits = [("all", f"bits_{k}", evidence.bpd) for k, evidence in enumerate(trajectory)]
    return iter(found + bits)


def method_of(
    cfg, flow: torch.nn.Module, harmonizer: torch.nn.Module, reference: Reference, share: float
) -> HarmonizingFlows:
    published = cfg.method.harmonizing_flows
    return HarmonizingFlows(
        density=flow,
        reference=reference,
        reference_bpd=0.0,
        harmonizer=harmonizer,
        optimizer=functools.partial(torch.optim.Adam, lr=share * published.optimizer.lr),
        units="grey_levels",
        trainable="all",
        stop=Budget(passes=cfg.passes),
        jacobian=cfg.jacobian,
        guard=False,
        count=None,
        step=1,
        batch=published.batch,
        seed=cfg.seed,
    )


def measured(cfg, volumes: list[Volume], flows, harmonizer, reference) -> Iterator[tuple[object, ...]]:
    """Rows of results.csv."""
    for name in SCANNERS:
        queries = volumes if name is None else [app.scanner(cfg, name)(volume) for volume in volumes]
        for share in map(float, str(cfg.rates).split(",")):
            for flow, density in flows.items():
                method = method_of(cfg, density, harmonizer, reference, share)
                for subject, metric, value in adapted(cfg, method, volumes, queries):
                    yield f"{flow}, rate x {share:g}", name or "reference", subject, subject, metric, f"{value:.6g}"
                sys.stdout.flush()


def main(words: list[str]) -> None:
    own = [word for word in words if word.startswith(OWN)]
    named = dict(word.split("=", 1) for word in words if word not in own)
    own = [f"rates='{word[6:]}'" if word.startswith("rates=") else word for word in own]
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=flow_direction", *DEFAULTS, *own])
    places = {"runs": Path(cfg.runs), "cache": Path(cfg.cache).expanduser()}
    flows = {name: app.load_run(resolve_model(model, **places).flow, "flow") for name, model in named.items()}
    data, harmonizer = app.build_data(cfg), app.load_run(Path(cfg.harmonizer), "harmonizer")
    reference = Reference.load(resolve_model(next(iter(named.values())), **places).flow / "reference.safetensors")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(measured(cfg, data.volumes(cfg.part)[: cfg.subjects], flows, harmonizer, reference))


if __name__ == "__main__":
    main(sys.argv[1:])
