"""Slices of a data set as Lightning wants them, in an order that an interruption cannot change."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from harmony.core import DataError, Scan, Source, Volume, group, split_by_subject
from harmony.core.batch import Batch, each
from harmony.core.progress import watched
from harmony.data.simulation.query_scanners import QueryScanner
from harmony.data.volumes.cache import VolumeCache, load_volumes
from harmony.data.volumes.preprocess import Preprocess


class SliceDataModule(lightning.LightningDataModule):
    """Train and validation slices of a source; whole volumes of every part on request.

    shares: part ("train", "val", "test") -> share of the subjects, dealt with `split_seed`. count, step: slices per
    volume and their distance (Volume.select). The batch at a global step is a function of (seed, step) alone.

    A batch is a `core.batch.Batch`. With a query scanner its query is what that scanner makes of the same slices of the
    same subjects or, where training is unpaired, slices of others: the train subjects are dealt in two halves, one for
    each scanner. Validation batches are pairs either way.

    batch_size: slices, or, with `whole_volumes`, volumes, each with all its slices, one volume after the other.
    skip_bad: leave out, and name, scans that cannot be used; by default they are one error that lists them.
    """

    def __init__(
        self,
        source: Source,
        preprocess: Preprocess,
        cache_dir: Path | str,
        *,
        shares: Mapping[str, float],
        split_seed: int,
        count: int | None,
        step: int,
        batch_size: int,
        seed: int,
        whole_volumes: bool = False,
        skip_bad: bool = False,
        query: QueryScanner | None = None,
        paired: bool = True,
    ) -> None:
        super().__init__()
        self.source, self.preprocess = source, preprocess
        self.cache = VolumeCache(cache_dir, preprocess)
        self.shares, self.split_seed = dict(shares), split_seed
        self.count, self.step, self.batch_size, self.seed = count, step, batch_size, seed
        self.whole_volumes, self.skip_bad, self.query, self.paired = whole_volumes, skip_bad, query, paired
        self._parts: dict[str, list[Scan]] | None = None
        self._volumes: dict[str, list[Volume]] = {}
        self._slices: dict[str, Batch] = {}

    def split(self) -> dict[str, list[Scan]]:
        """Part -> its scans. Raises DataError where a part that should have subjects has none."""
        if self._parts is None:
            parts = split_by_subject(self.source.scans(), self.shares, self.split_seed)
            for part, share in self.shares.items():
                if share > 0 and not parts[part]:
                    total = len({scan.subject for scans in parts.values() for scan in scans})
                    raise DataError(
                        f"no subject for the part {part!r}: {total} subjects with shares {self.shares}",
                        cure="use more subjects, or other data.shares=",
                    )
            self._parts = parts
        return self._parts

    def volumes(self, part: str) -> list[Volume]:
        """The preprocessed volumes of a part, read once."""
        if part not in self._volumes:
            self._volumes[part] = load_volumes(self.split()[part], self.cache, f"{part} scans", skip_bad=self.skip_bad)
        return self._volumes[part]

    def slices(self, part: str) -> Batch:
        """All chosen slices of a part as one batch."""
        if part not in self._slices:
            self._slices[part] = gather(self.volumes(part), self.count, self.step)
            if self.query is not None:
                volumes = watched(self.volumes(part), f"{part} scans as {self.query.name} makes them")
                made = gather([self.query(volume) for volume in volumes], self.count, self.step)
                self._slices[part] |= {"query": made["image"], "query_mask": made["mask"]}
        return self._slices[part]

    def setup(self, stage: str | None = None) -> None:
        for part in ("train", "val"):
            self.slices(part)
        found = min(len(units) for units in self._roles())
        if found < self.batch_size:
            unit = "volumes" if self.whole_volumes else "slices"
            raise DataError(
                f"{found} train {unit} do not fill one batch of {self.batch_size}",
                cure="use a smaller batch_size, or more subjects or slices",
            )

    def train_dataloader(self) -> DataLoader:
        # An order of its own for each scanner: else slice k would always meet slice k.
        batches = [
            EndlessBatches(self.slices("train"), units, self.batch_size, (self.seed, role), self._done)
            for role, units in enumerate(self._roles())
        ]
        return DataLoader(batches[0] if len(batches) == 1 else UnpairedBatches(*batches), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(OrderedBatches(self.slices("val"), self._units("val"), self.batch_size), batch_size=None)

    def _units(self, part: str) -> list[Tensor]:
        """The indices of the slices that stay together in a batch."""
        subject = self.slices(part)["subject"]
        if self.whole_volumes:
            return list(torch.arange(len(subject)).split(subject.bincount().tolist()))
        return list(torch.arange(len(subject)).split(1))

    def _roles(self) -> list[list[Tensor]]:
        """All train units, or those of the reference scanner's subjects and those of the query scanner's."""
        units = self._units("train")
        if self.query is None or self.paired:
            return [units]
        subjects = [volume.scan.subject for volume in self.volumes("train")]
        seconds = set(sorted(set(subjects))[1::2])
        queried = [subjects[self.slices("train")["subject"][unit[0]]] in seconds for unit in units]
        return [[unit for unit, is_query in zip(units, queried, strict=True) if is_query == role] for role in (0, 1)]

    def _done(self) -> int:
        """Batches already trained on (a resumed run's are restored by now)."""
        trainer = self.trainer
        if trainer is None:
            return 0
        # global_step counts optimizer steps: several per batch with several optimizers, fewer with accumulation.
        return trainer.global_step * trainer.accumulate_grad_batches // max(len(trainer.optimizers), 1)


class EndlessBatches(IterableDataset):
    """Batch k, k + 1, ... for ever, from permutations that are drawn by (*seed, epoch); no batch spans two of them.

    An iterable with no length: Lightning then neither restarts it at an epoch's end nor replaces its sampler under DDP.
    """

    def __init__(
        self,
        slices: Batch,
        units: Sequence[Tensor],
        batch_size: int,
        seed: tuple[int, int],
        done: Callable[[], int],
    ) -> None:
        self.slices, self.units, self.batch_size, self.seed, self.done = slices, units, batch_size, seed, done

    def __iter__(self) -> Iterator[Batch]:
        for step in itertools.count(self.done()):
            yield _pick(self.slices, torch.cat([self.units[k] for k in self.index(step)[group.share()]]))

    def index(self, step: int) -> Tensor:
        """(batch_size,) the units of batch `step`."""
        epoch, batch = divmod(step, len(self.units) // self.batch_size)
        # NumPy's generator is seeded by all of these numbers; torch's takes 32 bits of one.
        order = torch.from_numpy(np.random.default_rng((*self.seed, epoch)).permutation(len(self.units)))
        return order[batch * self.batch_size : (batch + 1) * self.batch_size]


class UnpairedBatches(IterableDataset):
    """Batches of one half of the subjects, with the query slices of the other half."""

    def __init__(self, reference: EndlessBatches, query: EndlessBatches) -> None:
        self.reference, self.query = reference, query

    def __iter__(self) -> Iterator[Batch]:
        for reference, query in zip(self.reference, self.query, strict=True):
            yield reference | {"query": query["query"], "query_mask": query["query_mask"]}


class OrderedBatches(Dataset):
    """All units in order; the last batch may be smaller."""

    def __init__(self, slices: Batch, units: Sequence[Tensor], batch_size: int) -> None:
        self.batches = [torch.cat([*units[k : k + batch_size]]) for k in range(0, len(units), batch_size)]
        self.slices = slices

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        return _pick(self.slices, self.batches[index])


def gather(volumes: Sequence[Volume], count: int | None, step: int) -> Batch:
    """The selected slices of all volumes as one batch, subject after subject."""
    chosen = [volume.select(count, step) for volume in volumes]
    stacks = [volume.stack(index) for volume, index in zip(volumes, chosen, strict=True)]
    sizes = torch.tensor([len(stack) for stack in stacks])
    ages = torch.tensor([float("nan") if v.scan.age is None else v.scan.age for v in volumes])
    batch: Batch = {
        "image": torch.cat([stack.image for stack in stacks]),
        "mask": torch.cat([stack.mask for stack in stacks]),
        "position": torch.cat([stack.position for stack in stacks]),
        "age": ages.repeat_interleave(sizes),
        "subject": torch.arange(len(volumes)).repeat_interleave(sizes),
    }
    labels = [v.labels[index, None] for v, index in zip(volumes, chosen, strict=True) if v.labels is not None]
    if len(labels) == len(volumes):
        batch["labels"] = torch.cat(labels)
    return batch


def _pick(slices: Batch, index: Tensor) -> Batch:
    return each(slices, lambda values: values[index])
