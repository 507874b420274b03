"""What a training step under ranked guidance costs beside one of likelihood alone.

python experiments/flow_direction/cost.py data.root=/path/to/ixi-hh [steps=48]

The flow of `flow_direction`, batches of its own size of the middle slices of training people. The time is what
the process had of its processor, so that other jobs count little; means, not medians: a share of the guided steps
walks.
"""

from __future__ import annotations

import sys
import time

import torch
from hydra import compose, initialize_config_dir

from harmony import app
from harmony.core.batch import draws


def main(words: list[str]) -> None:
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=flow_direction", "+steps=48", *words])
    volumes = app.build_data(cfg).volumes("train")[:4]
    stack = [(v.image[m, None], v.mask[m, None]) for v in volumes for m in [v.select(cfg.data.count, cfg.data.step)]]
    slices, masks = (torch.cat(parts) for parts in zip(*stack, strict=True))
    node = cfg.tasks.flow

    def seconds(name, guidance) -> float:
        torch.manual_seed(cfg.seed)
        density = app.build(node.network).train()
        optimizer = app.build(node.module.optimizer)(density.parameters())
        value = run(density, guidance, optimizer, slices, masks, node.batch_size, cfg.steps)
        print(f"{name}: {value:.2f} s a step of {node.batch_size} slices", flush=True)
        return value

    plain, ranked = seconds("likelihood alone", None), seconds("ranked guidance", app.build(node.module.guided))
    print(f"ratio: {ranked / plain:.2f}")


def run(density, guidance, optimizer, slices, masks, batch, steps) -> float:
    """Mean seconds of processor time a step; the first two, which set the norms, are not counted."""
    for k in range(steps + 2):
        if k == 2:
            begin = time.process_time()
        draw = draws(0, k)
        rows = torch.randperm(len(slices), generator=draw)[:batch]
        image, mask = slices[rows], masks[rows]
        loss = (density.bits_per_dim(image, draw).mean() if guidance is None
                else guidance.step(density, image, mask, draw).loss)  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.process_time() - begin) / steps


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
