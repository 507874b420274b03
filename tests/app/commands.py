"""Commands as a user starts them, from a folder of the user's."""

import os

import torch
from brains import neutral_prior
from omegaconf import OmegaConf
from programs import Program

from harmony import app
from harmony.core.reference import Reference

TINY = [
    "experiment=quickstart",
    "stages=[flow,evaluate]",
    "methods=[none,histogram_matching,blindharmony]",
    "evaluation.judges=[]",
    "tasks.flow.max_steps=6",
    "tasks.flow.val_every=3",
    "tasks.flow.batch_size=4",
    "data.source.subjects=10",
    "data.source.resolution=4",
    "data.preprocess.spacing=4.0",
    "data.preprocess.size=[40,48]",
    "data.count=4",
    "flow.steps=1",
    "flow.hidden_channels=8",
    "method.blindharmony.solver.iterations=1",
    "evaluation.subjects=2",
    "data.query=[exp]",
    "trainer.log_every_n_steps=2",
    "evaluation.figure_subjects=0",  # pictures and W&B cost more than all else; tests of them ask for them
]


class Folder:
    """Somewhere to run commands: its own runs, a cache shared by the tests, words of every training and evaluation."""

    def __init__(self, path, cache, *words):
        self.path, self.words = path, words
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "HARMONY"))}
        self.env = kept | {"HARMONY_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}

    def start(self, module, *overrides):
        flags = [word for word in overrides if word.startswith("-")]
        words = [word for word in overrides if not word.startswith("-")]
        tiny = [*TINY, *self.words, *quiet([*self.words, *words])] if module in ("train", "evaluate") else []
        return Program(f"harmony.{module}", [*flags, *tiny, *words], cwd=self.path, env=self.env, merged=True)

    def run(self, module, *overrides):
        process = self.start(module, *overrides)
        output, _ = process.communicate(timeout=240)
        return process.returncode, output

    def interrupt(self, after, signum, module, *overrides):
        """Start, send the signal once a line of the output contains `after`, and wait for the end."""
        process = self.start(module, *overrides)
        seen = ""
        for line in process.stdout:
            seen += line
            if after in line:
                process.send_signal(signum)
                break
        rest, _ = process.communicate(timeout=120)
        return process.returncode, seen + rest

    def one(self, pattern):
        found = sorted(self.path.glob(pattern))
        assert len(found) == 1, found
        return found[0]


def quiet(words):
    """No W&B, unless the words name a logger."""
    return [] if any(word.startswith("logger=") for word in words) else ["logger=csv"]


def untrained(cfg):
    """The networks of an experiment, as training would leave them, with random weights."""
    data = app.build_data(cfg)
    torch.manual_seed(0)
    for stage in app.models_wanted(cfg):
        run = app.model_run(cfg, data, stage)
        run.begin(OmegaConf.to_yaml(cfg, resolve=True))
        app.save_weights(app.build(cfg.tasks[stage].network), run.path / "model.safetensors")
        run.finish({"score": 3.0})
    for part in app.parts_wanted(cfg):
        if part.endswith("/prior"):
            neutral_prior().save(app.model_run(cfg, data, part.partition("/")[0]).path / "prior.safetensors")
    flow = app.model_run(cfg, data, "flow").path
    Reference.of(data.volumes("train"), **app.plain(cfg.reference)).save(flow / "reference.safetensors")
