"""BlindHarmony under several flows: how near to the truth, how bright, how likely.

python experiments/flow_direction/blindharmony.py part=val subjects=2 data.root=/path/to/ixi-hh plain=ixi-hh ranked=RUN

Each further word is `name=model`, as in direction.py. The middle slices of the people of a part, untouched and as the
mix sees them, by the alternating solver and by descent in image space. Printed is a table of results.csv, method
SOLVER_FLOW, with psnr (dB), brightness (mean of the brain over the truth's) and bpd (less that of the truth).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from harmony import app
from harmony.core import REFERENCE
from harmony.core.models import resolve_model
from harmony.core.reference import Reference
from harmony.core.results import COLUMNS
from harmony.metrics import psnr

SOLVERS = {"alternating": "blindharmony", "image_space": "blindharmony_image"}
SCANNERS = (REFERENCE, "mix")


def main(words: list[str]) -> None:
    own = [word for word in words if word.startswith(("data.", "part=", "subjects="))]
    named = dict(word.split("=", 1) for word in words if word not in own)
    chosen = f"methods=[{','.join(SOLVERS.values())}]"
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=ixi_downstream", "+part=val", "+subjects=2", chosen, *own])
    data = app.build_data(cfg)
    reference = Reference.of(data.volumes("train"), **app.plain(cfg.reference))
    places = {"runs": Path(cfg.runs), "cache": Path(cfg.cache).expanduser()}
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    for name, model in named.items():
        density = app.load_run(resolve_model(model, **places).of("flow"), "flow")
        methods = app.build_methods(cfg, {"flow": density}, reference, None)
        for scanner in SCANNERS:
            for truth in data.volumes(cfg.part)[: cfg.subjects]:
                query = truth if scanner == REFERENCE else app.scanner(cfg, scanner)(truth)
                middle = truth.select(cfg.data.count, cfg.data.step)
                wanted, inside = truth.image[middle, None], truth.mask[middle, None]
                for solver, method in SOLVERS.items():
                    image = methods[method].harmonize(query.stack(middle)).image
                    with torch.no_grad():
                        bits = density.bits_per_dim(image).mean() - density.bits_per_dim(wanted).mean()
                    brightness = image[inside].mean() / wanted[inside].mean()
                    for metric, value in ("psnr", psnr(image, wanted)), ("brightness", brightness), ("bpd", bits):
                        who = truth.scan.subject
                        table.writerow((f"{solver}_{name}", scanner, who, who, metric, f"{float(value):.6g}"))
                sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
