"""Batches that an interruption cannot change, from subjects that never meet."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import lightning
import pytest
import torch
from phantoms import Phantoms, preprocess

from harmony.core import DataError, group
from harmony.data import QueryScanner, SliceDataModule, query_scanner
from harmony.data.module import gather

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def module(folder, *, subjects=6, **changes) -> SliceDataModule:
    settings = {"shares": SHARES, "split_seed": 0, "count": 6, "step": 2, "batch_size": 4, "seed": 0} | changes
    return SliceDataModule(Phantoms(folder, subjects), preprocess(), folder / "cache", **settings)


class Recorder(lightning.LightningModule):
    """Writes down the batches it sees; steps its optimizers once a batch."""

    def __init__(self, optimizers: int = 1) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.automatic_optimization = optimizers == 1
        self.number, self.seen = optimizers, []

    def training_step(self, batch, _):
        self.seen.append(batch["image"].double().sum((1, 2, 3)))
        loss = self.weight * batch["image"].mean()
        if not self.automatic_optimization:
            for optimizer in self.optimizers():
                optimizer.step()
        return loss

    def configure_optimizers(self):
        built = [torch.optim.SGD([self.weight], 0.1) for _ in range(self.number)]
        return built[0] if self.number == 1 else built


def fit(folder, steps, task, *, resume=None, save=None) -> list:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    accumulate = {"accumulate_grad_batches": 2} if save == "accumulate" else {}
    trainer = lightning.Trainer(
        max_steps=steps * task.number, accelerator="cpu", limit_val_batches=0, **quiet, **accumulate
    )
    trainer.fit(task, datamodule=module(folder), ckpt_path=resume)
    if save is not None:
        trainer.save_checkpoint(save)
    return task.seen


@pytest.mark.parametrize("optimizers", [1, 2])
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(optimizers, tmp_path):
    whole = fit(tmp_path, 11, Recorder(optimizers))
    assert len(whole) == 11
    first = fit(tmp_path, 5, Recorder(optimizers), save=tmp_path / "half.ckpt")
    second = fit(tmp_path, 11, Recorder(optimizers), resume=tmp_path / "half.ckpt")
    assert torch.equal(torch.stack(first + second), torch.stack(whole))


def scanner() -> QueryScanner:
    return query_scanner("exp", kind="exp", strength=None, seed=0, percentile=99.5)


def test_paired_batches_hold_the_same_slices_on_both_scanners(tmp_path):
    plain = module(tmp_path)
    data = module(tmp_path, query=scanner())
    data.setup()
    for batch, before in itertools.islice(zip(data.train_dataloader(), plain_batches(plain), strict=False), 8):
        torch.testing.assert_close(batch["query"], torch.expm1(batch["image"]) / math.expm1(1))
        assert torch.equal(batch["query_mask"], batch["mask"])
        assert torch.equal(batch["image"], before["image"])  # the query changes nothing of what was there
    for batch in data.val_dataloader():
        torch.testing.assert_close(batch["query"], torch.expm1(batch["image"]) / math.expm1(1))


def plain_batches(data):
    data.setup()
    return data.train_dataloader()


def unpaired(folder) -> SliceDataModule:
    """Train slice s of subject k has the grey level (6 k + s + 1) / 32 everywhere."""
    data = module(folder, query=scanner(), paired=False)
    levels = torch.arange(1, 25).reshape(4, 6, 1, 1) / 32
    index = [volume.select(6, 2) for volume in data.volumes("train")]
    for k, volume in enumerate(data.volumes("train")):
        volume.image[index[k]] = volume.mask[index[k]] * levels[k]
    data.setup()
    return data


def shown(images) -> list[int]:
    """Which slices these are, 0 .. 23."""
    return [round(32 * float(image.max())) - 1 for image in images]


def test_unpaired_batches_never_show_a_subject_on_both_scanners(tmp_path):
    data = unpaired(tmp_path)
    seen, queried, together = set(), set(), []
    for batch in itertools.islice(iter(data.train_dataloader()), 12):
        seen |= {k // 6 for k in shown(batch["image"])}
        queried |= {k // 6 for k in shown(torch.log1p(batch["query"] * math.expm1(1)))}
        assert torch.equal(batch["query_mask"], batch["query"] > 0)
        together.append((batch["image"], batch["query"]))
    assert seen.isdisjoint(queried)
    assert seen | queried == {0, 1, 2, 3}
    again = unpaired(tmp_path)
    for (image, query), batch in zip(together, again.train_dataloader(), strict=False):
        assert torch.equal(batch["image"], image)
        assert torch.equal(batch["query"], query)
    loader = again.train_dataloader()
    loader.dataset.reference.done = loader.dataset.query.done = lambda: 5
    batch = next(iter(loader))  # a resumed run goes on where the other was
    assert torch.equal(batch["image"], together[5][0])
    assert torch.equal(batch["query"], together[5][1])


def test_unpaired_slices_meet_others_every_time(tmp_path):
    """A fixed partner would be a pairing, though a wrong one."""
    met = set()
    for batch in itertools.islice(iter(unpaired(tmp_path).train_dataloader()), 30):
        met |= set(zip(shown(batch["image"]), shown(batch["query"]), strict=True))
    assert len(met) > 60  # of 120 meetings of 12 x 12 slices; 12 if slice k always met slice k


def test_a_permutation_is_used_up_before_the_next_one(tmp_path):
    data = module(tmp_path, batch_size=5)
    data.setup()
    batches = list(itertools.islice(iter(data.train_dataloader()), 6))
    count = len(data.slices("train")["image"])
    assert count == 24  # 4 subjects of 6 slices: 4 batches of 5 a permutation, the rest is dropped
    index = data.train_dataloader().dataset.index
    for epoch in range(3):
        used = torch.cat([index(4 * epoch + k) for k in range(4)])
        assert len(used.unique()) == 20
    assert not torch.equal(index(0), index(4))
    again = module(tmp_path, batch_size=5)
    for step, batch in enumerate(itertools.islice(iter(again.train_dataloader()), 6)):
        assert torch.equal(batch["image"], batches[step]["image"])
    others = [module(tmp_path, batch_size=5, seed=seed).train_dataloader().dataset.index(0) for seed in range(1, 9)]
    assert len({tuple(other.tolist()) for other in (index(0), *others)}) == 9


def test_two_processes_share_a_batch(tmp_path, monkeypatch):
    data = module(tmp_path)
    data.setup()
    whole = next(iter(data.train_dataloader()))["image"]
    parts = []
    for rank in range(2):
        loader = data.train_dataloader()
        monkeypatch.setattr(group, "share", lambda rank=rank: slice(rank, None, 2))
        parts.append(next(iter(loader))["image"])
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)


def test_whole_volumes_stay_together(tmp_path):
    data = module(tmp_path, batch_size=2, whole_volumes=True)
    data.setup()
    seen = []
    for batch in itertools.islice(iter(data.train_dataloader()), 2):
        assert batch["subject"].unique_consecutive(return_counts=True)[1].tolist() == [6, 6]
        for subject in batch["subject"].unique():
            own = batch["image"][batch["subject"] == subject, 0]
            volume = data.volumes("train")[subject]
            assert torch.equal(own, volume.image[volume.select(6, 2)])
        seen += batch["subject"].unique().tolist()
    assert sorted(seen) == [0, 1, 2, 3]
    assert [len(batch["image"]) for batch in data.val_dataloader()] == [6]
    with pytest.raises(DataError, match="4 train volumes"):
        module(tmp_path, batch_size=5, whole_volumes=True).setup()


def test_what_a_batch_holds(tmp_path):
    data = module(tmp_path)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert {k: (tuple(v.shape), v.dtype) for k, v in batch.items()} == {
        "image": ((4, 1, 32, 32), torch.float32),
        "mask": ((4, 1, 32, 32), torch.bool),
        "labels": ((4, 1, 32, 32), torch.int16),
        "position": ((4,), torch.float32),
        "age": ((4,), torch.float32),
        "subject": ((4,), torch.int64),
    }
    volumes = data.volumes("train")
    for image, age, subject in zip(batch["image"], batch["age"], batch["subject"], strict=True):
        volume = volumes[subject]
        assert volume.scan.age == age
        assert any(torch.equal(image[0], plane) for plane in volume.image)


def test_validation_is_complete_and_in_order(tmp_path):
    data = module(tmp_path, batch_size=4)
    data.setup()
    loader = data.val_dataloader()
    assert len(loader) == 2
    assert torch.equal(torch.cat([b["image"] for b in loader]), data.slices("val")["image"])


def test_labels_only_when_everybody_has_them_and_unknown_ages_are_nan(tmp_path):
    volumes = module(tmp_path).volumes("train")
    mixed = [replace(volumes[0], labels=None, scan=replace(volumes[0].scan, age=None)), volumes[1]]
    batch = gather(mixed, count=3, step=1)
    assert "labels" not in batch
    assert batch["age"][:3].isnan().all()
    assert batch["age"][3] == volumes[1].scan.age


def test_no_subject_is_in_two_parts(tmp_path):
    data = module(tmp_path)
    names = {part: {v.scan.subject for v in data.volumes(part)} for part in SHARES}
    assert sum(map(len, names.values())) == len(set().union(*names.values())) == 6
    assert {part: {s.subject for s in scans} for part, scans in data.split().items()} == names


def test_too_few_subjects_or_slices_say_so(tmp_path):
    with pytest.raises(DataError, match=r"no subject for the part .*data.shares="):
        module(tmp_path, subjects=2).setup()
    with pytest.raises(DataError, match=r"batch_size"):
        module(tmp_path, batch_size=25).setup()
    without = module(tmp_path, subjects=2, shares={"train": 0.5, "val": 0.5, "test": 0.0})
    assert without.split()["test"] == []


def test_bad_scans_are_skipped_on_request_only(tmp_path):
    for skip_bad in (False, True):
        data = module(tmp_path, skip_bad=skip_bad)
        broken = data.split()["train"][0]
        broken.path.write_bytes(b"broken")  # after the listing, which writes the phantoms
        if skip_bad:
            assert [v.scan.name for v in data.volumes("train")] == [s.name for s in data.split()["train"][1:]]
        else:
            with pytest.raises(DataError, match="not a NIfTI"):
                data.volumes("train")
