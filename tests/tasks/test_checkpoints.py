"""A damaged checkpoint is never trained on and never in the way: the one before is, and the end is the same."""

import itertools

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from harmony.core import DamagedError
from harmony.core.checkpoints import before, read_checkpoint, resumable
from harmony.tasks import LastCheckpoint, WholeCheckpoints


class Line(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, _):
        return self.layer(batch).square().mean()

    def validation_step(self, batch, _):
        self.log("error", self.layer(batch).square().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Endless(torch.utils.data.IterableDataset):
    """As the project's training batches: without an epoch's end."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return itertools.cycle(self.batches)


def fit(folder, steps):
    lightning.seed_everything(0, verbose=False)
    line = Line()
    keep = ModelCheckpoint(folder, "best", monitor="error", enable_version_counter=False)
    trainer = lightning.Trainer(
        max_steps=steps, val_check_interval=1, check_val_every_n_epoch=None,
        callbacks=[keep, LastCheckpoint(folder / "last.ckpt")],
        plugins=[WholeCheckpoints()], logger=False, default_root_dir=folder, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, accelerator="cpu",
    )  # fmt: skip
    batch = torch.arange(12.0).reshape(4, 3) / 12
    loader = torch.utils.data.DataLoader(Endless([batch]), batch_size=None)
    once = torch.utils.data.DataLoader([batch], batch_size=None)
    start = resumable(folder / "last.ckpt")
    trainer.fit(line, loader, once, ckpt_path=start, weights_only=True)
    return (0 if start is None else read_checkpoint(start)["global_step"]), line.layer.weight.detach().clone()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-300])


def flip(path):
    """One bit of a weight: PyTorch reads it as another."""
    raw = bytearray(path.read_bytes())
    raw[raw.index(read_checkpoint(path)["state_dict"]["layer.weight"].numpy().tobytes()) + 3] ^= 4
    path.write_bytes(raw)
    torch.load(path, weights_only=True)


def empty(path):
    path.write_bytes(b"")


def test_the_last_checkpoint_is_that_of_the_last_validation_even_if_it_is_not_the_best(tmp_path):
    _, weight = fit(tmp_path, 4)
    last, best = (read_checkpoint(tmp_path / f"{name}.ckpt") for name in ("last", "best"))
    assert (last["global_step"], best["global_step"]) == (4, 2)
    assert torch.equal(last["state_dict"]["layer.weight"], weight)


@pytest.mark.parametrize("damage", [truncate, flip, empty])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(damage, tmp_path, capsys):
    _, straight = fit(tmp_path / "straight", 6)
    fit(tmp_path / "run", 4)
    last = tmp_path / "run" / "last.ckpt"
    assert read_checkpoint(last)["global_step"] == 4
    assert read_checkpoint(before(last))["global_step"] == 3
    damage(last)
    capsys.readouterr()
    assert resumable(last) == before(last)
    assert "last.ckpt: damaged" in capsys.readouterr().out
    assert not last.exists()
    _, resumed = fit(tmp_path / "run", 6)
    assert torch.equal(resumed, straight)


def test_both_damaged_or_the_best_one_begins_anew(tmp_path, capsys):
    _, straight = fit(tmp_path / "straight", 4)
    for names in (["last.ckpt", "last-before.ckpt"], ["best.ckpt"]):
        folder = tmp_path / names[0]
        fit(folder, 3)
        for name in names:
            truncate(folder / name)
        start, again = fit(folder, 4)
        assert start == 0
        assert torch.equal(again, straight)
        assert "damaged" in capsys.readouterr().out


def test_a_checkpoint_that_cannot_be_written_leaves_the_former_ones(tmp_path):
    path = tmp_path / "last.ckpt"
    for step in (1, 2):
        WholeCheckpoints().save_checkpoint({"global_step": step}, path)
    with pytest.raises(TypeError):
        WholeCheckpoints().save_checkpoint({"global_step": (each for each in ())}, path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last-before.ckpt", "last.ckpt"]
    assert read_checkpoint(path) == {"global_step": 2}


def test_no_flipped_bit_of_a_checkpoint_is_another_checkpoint(tmp_path):
    path = tmp_path / "x.ckpt"
    torch.save({"w": torch.randn(200), "step": 7}, path)
    raw, random, noticed = path.read_bytes(), np.random.default_rng(0), 0
    for at in random.integers(0, len(raw), 200).tolist():
        changed = bytearray(raw)
        changed[at] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        try:
            found = read_checkpoint(path)
        except DamagedError:
            noticed += 1
        else:
            path.write_bytes(raw)
            assert torch.equal(found["w"], read_checkpoint(path)["w"])
            assert found["step"] == 7
    assert noticed > 80
