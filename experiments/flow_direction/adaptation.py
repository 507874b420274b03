r"""The adaptation of Harmonizing Flows, pass by pass: under flows or a ratio of two, at several doses.

python experiments/flow_direction/adaptation.py data.root=/path/to/ixi-hh part=val subjects=3 passes=5 slices=middle \
    harmonizer=RUN plain=ixi-hh ranked=RUN ranked_small=RUN:0.25:1 ratio_small=RUN,ixi-hh:0.25

Each further word is `name=model[,model][:share[:weight]]`: the flow, or two whose likelihood ratio counts; the share of
the published rate; the weight of the log-Jacobian. Printed is a table of results.csv: PSNR (dB) of the middle slices
(or all) of the people of a part under simulated scanners, before the first pass (`psnr_pass_0`) and after each. The
people of a scanner are adapted to together, all passes, without a stopping rule.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from harmony import app
from harmony.core import REFERENCE, Volume
from harmony.core.models import resolve_model
from harmony.core.reference import Reference
from harmony.core.results import COLUMNS
from harmony.flows import ImageDensity
from harmony.methods import Budget, HarmonizingFlows
from harmony.metrics import psnr
from harmony.networks import Harmonizer

SCANNERS = (REFERENCE, "exp", "log", "gamma_0.7", "gamma_1.3", "tissue", "bias", "blur", "noise", "mix")
OWN = ("data.", "part=", "subjects=", "passes=", "slices=", "scanners=")


class Ratio(nn.Module):
    """Bits per dimension under one flow less those under another, of one noise: of the likelihood ratio."""

    def __init__(self, one: ImageDensity, other: ImageDensity) -> None:
        super().__init__()
        self.one, self.other = one, other

    def bits_per_dim(self, image: Tensor) -> Tensor:
        return self.one.bits_per_dim(image) - self.other.bits_per_dim(image)

    def relaxed_bits_per_dim(self, image: Tensor, generator: torch.Generator) -> Tensor:
        state = generator.get_state()
        bits = self.one.relaxed_bits_per_dim(image, generator)
        generator.set_state(state)
        return bits - self.other.relaxed_bits_per_dim(image, generator)


def adapted(cfg, word: str, harmonizer: Harmonizer, reference: Reference) -> HarmonizingFlows:
    """The published method (`method: harmonizing_flows`) as the word changes it, without its stopping rule."""
    flows, share, weight = [*word.split(":"), "1", "0"][:3]
    places = {"runs": Path(cfg.runs), "cache": Path(cfg.cache).expanduser()}
    densities = [app.load_run(resolve_model(name, **places).of("flow"), "flow") for name in flows.split(",")]
    node = cfg.method.harmonizing_flows
    return HarmonizingFlows(
        density=Ratio(*densities) if len(densities) > 1 else densities[0], reference=reference, reference_bpd=0.0,
        harmonizer=harmonizer, optimizer=partial(torch.optim.Adam, lr=float(share) * node.optimizer.lr),
        units=node.units, trainable=node.trainable, stop=Budget(passes=int(cfg.passes)), jacobian=float(weight),
        guard=node.guard, count=cfg.data.count, step=cfg.data.step, batch=node.batch, seed=cfg.seed,
    )  # fmt: skip


def passes(cfg, method: HarmonizingFlows, truths: list[Volume], name: str) -> Iterator[tuple[str, str, float]]:
    """Subject, metric and value of each pass."""
    queries = [truth if name == REFERENCE else app.scanner(cfg, name)(truth) for truth in truths]
    count = cfg.data.count if cfg.slices == "middle" else None
    scored = [truth.select(count, cfg.data.step) for truth in truths]
    stacks = [query.stack(torch.arange(len(query.image))) for query in queries]
    rows: list[tuple[str, str, float]] = []

    def watch(k: int) -> None:
        for truth, query, own in zip(truths, queries, scored, strict=True):
            value = psnr(method.harmonize(query.stack(own)).image, truth.image[own, None])
            rows.append((truth.scan.subject, f"psnr_pass_{k}", value))

    method.reset()
    method.adapt(stacks, watch)
    yield from rows


def main(words: list[str]) -> None:
    own = [word for word in words if word.startswith(OWN)]
    named = dict(word.split("=", 1) for word in words if word not in own)
    defaults = ["+part=val", "+subjects=3", "+passes=5", "+slices=middle", f"+scanners=[{','.join(SCANNERS)}]"]
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=ixi_downstream", *defaults, *own])
    run = Path(named.pop("harmonizer"))
    harmonizer = app.load_run(run, run.name.rsplit("-", 1)[0])
    truths = app.build_data(cfg).volumes(cfg.part)[: cfg.subjects]
    unread = Reference.of(truths, positions=1, quantiles=2)  # a harmonizer without context asks nothing of it
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    for setting, word in named.items():
        method = adapted(cfg, word, harmonizer, unread)
        for name in cfg.scanners:
            for subject, metric, value in passes(cfg, method, truths, name):
                table.writerow((setting, name, subject, subject, metric, f"{value:.6g}"))
            sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
