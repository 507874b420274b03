r"""The published adaptation, pass by pass, under each of several flows.

python experiments/flow_direction/adaptation.py data.root=/path/to/ixi-hh part=val subjects=3 \
    harmonizer=RUN plain=ixi-hh ranked=RUN

Each further word is `name=model`, as in direction.py. Printed is a table of results.csv: PSNR (dB) of the middle slices
of the people of a part under simulated scanners, before the first pass (`psnr_pass_0`) and after each. The people of
a scanner are adapted to together, all passes, without a stopping rule.
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
from harmony.core.models import resolve_model
from harmony.core.reference import Reference
from harmony.core.results import COLUMNS
from harmony.flows import ImageDensity
from harmony.methods import Budget, HarmonizingFlows
from harmony.metrics import psnr
from harmony.networks import Harmonizer

SCANNERS = (None, "exp", "log", "gamma_0.7", "gamma_1.3", "tissue", "bias", "blur", "noise", "mix")
PASSES = 5


def published(cfg, density: ImageDensity, harmonizer: Harmonizer, reference: Reference) -> HarmonizingFlows:
    """The published dose (`method: harmonizing_flows`) without its stopping rule; its judge is not asked."""
    node = cfg.method.harmonizing_flows
    return HarmonizingFlows(
        density=density, reference=reference, reference_bpd=0.0, harmonizer=harmonizer,
        optimizer=app.build(node.optimizer), units=node.units, trainable=node.trainable, stop=Budget(passes=PASSES),
        jacobian=node.jacobian, guard=node.guard, count=None, step=1, batch=node.batch, seed=cfg.seed,
    )  # fmt: skip


def passes(cfg, method: HarmonizingFlows, truths: list[Volume], name: str | None) -> Iterator[tuple[str, str, float]]:
    """Subject, metric and value of each pass."""
    queries = [truth if name is None else app.scanner(cfg, name)(truth) for truth in truths]
    chosen = [truth.select(cfg.data.count, cfg.data.step) for truth in truths]
    stacks = [query.stack(k) for query, k in zip(queries, chosen, strict=True)]
    rows: list[tuple[str, str, float]] = []

    def watch(k: int) -> None:
        for truth, stack, own in zip(truths, stacks, chosen, strict=True):
            value = psnr(method.harmonize(stack).image, truth.image[own, None])
            rows.append((truth.scan.subject, f"psnr_pass_{k}", value))

    method.reset()
    method.adapt(stacks, watch)
    yield from rows


def main(words: list[str]) -> None:
    own = [word for word in words if word.startswith(("data.", "part=", "subjects="))]
    named = dict(word.split("=", 1) for word in words if word not in own)
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=ixi_downstream", "+part=val", "+subjects=3", *own])
    places = {"runs": Path(cfg.runs), "cache": Path(cfg.cache).expanduser()}
    harmonizer = app.load_run(Path(named.pop("harmonizer")), "harmonizer")
    data = app.build_data(cfg)
    truths = data.volumes(cfg.part)[: cfg.subjects]
    unread = Reference.of(truths, positions=1, quantiles=2)  # a harmonizer without context asks nothing of it
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    for flow, model in named.items():
        density = app.load_run(resolve_model(model, **places).home, "flow")
        method = published(cfg, density, harmonizer, unread)
        for name in SCANNERS:
            for subject, metric, value in passes(cfg, method, truths, name):
                table.writerow((flow, name or "reference", subject, subject, metric, f"{value:.6g}"))
            sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
