"""The networks of an installed model in place of a recipe's own training, for records of the model that people have.

    python experiments/installed.py experiment=ixi_random data.root=/path/to/ixi-hh
    harmony evaluate ixi_random data.root=/path/to/ixi-hh

Copies the stages that ixi-hh holds to where those of the recipe would be (`runs/models`); the words must be those of
the evaluation. A stage that is there already is left alone.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir

from harmony import app
from harmony.core.model_card import ModelCard
from harmony.core.models import resolve_model


def main(words: Sequence[str]) -> None:
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=list(words))
    model = resolve_model("ixi-hh", runs=Path(cfg.runs), cache=Path(cfg.cache).expanduser())
    data = app.build_data(cfg)
    for stage, folder in model.stages.items():
        run = app.model_run(cfg, data, stage)
        if not run.done:
            shutil.copytree(folder, run.path, dirs_exist_ok=True)
            run.finish({"score": ModelCard.load(folder).score.get("flow/val_bpd", 0.0)})
        print(f"{stage}: {run.path}")


if __name__ == "__main__":
    main(sys.argv[1:])
