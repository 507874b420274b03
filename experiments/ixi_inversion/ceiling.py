"""What a scanner leaves of the tissues: Dice of the judge's network, trained on labelled scans of that very scanner.

python experiments/ixi_inversion/ceiling.py data.root=/path/to/ixi-hh domains='[tissue,mix,noise]'

No method for an unseen scanner can be expected to give more back. All test subjects, all slices; the network, its steps
and its seed are those of the tissue judge, which learned from untouched scans.
"""

from __future__ import annotations

import sys
from statistics import fmean
from typing import Any

import lightning
import torch
from hydra import compose, initialize_config_dir

from harmony import app
from harmony.core import Volume
from harmony.data import SliceDataModule
from harmony.evaluation.cases import Case
from harmony.judges import Segmentation


class OnScanner(SliceDataModule):
    """The volumes of a data set as one query scanner makes them, with their labels."""

    scanner: Any = None

    def volumes(self, part: str) -> list[Volume]:
        return [self.scanner(volume) for volume in super().volumes(part)]


def trained(cfg, data: SliceDataModule) -> torch.nn.Module:
    """The last weights: the rate has fallen to 0 by then."""
    node = cfg.tasks.segmenter
    lightning.seed_everything(cfg.seed, verbose=False)
    network = app.build(node.network)
    task = app.build_task(node.module, network=network, reference=None)
    trainer = app.build(cfg.trainer)(
        max_steps=node.max_steps, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(task, datamodule=data)
    return network.eval()


@torch.no_grad()
def dice(cfg, network: torch.nn.Module, data: SliceDataModule, scanner) -> float:
    cut = app.evaluation_settings(cfg).cut
    node = cfg.judge.segmentation
    judge = Segmentation(segmenter=network, structures=app.plain(node.structures), batch=node.batch)
    found = []
    for volume in SliceDataModule.volumes(data, "test"):
        case = Case(volume, volume, scanner).slices(cut)
        found.append(judge.score(case.query, case.known)["dice"])
    return fmean(found)


def main(words: list[str]) -> None:
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=ixi_inversion", "+domains=[]", *words])
    print("| scanner | Dice |\n|---|---|")
    for name in cfg.domains:
        data = app.build_data(cfg, cfg.tasks.segmenter)
        data.__class__, data.scanner = OnScanner, app.scanner(cfg, name)
        print(f"| {name} | {dice(cfg, trained(cfg, data), data, data.scanner):.3f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
