"""Batches of slices: what is in one, and the chance of a training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Required, TypedDict, cast

import torch
from torch import Generator, Tensor

_PROCESS = 1 << 40  # apart: the seeds of the processes that train together


class Batch(TypedDict, total=False):
    """B slices, or the two scanners' views of B slices.

    image: (B, 1, H, W) float32 in [0, 1]. mask: (B, 1, H, W) bool. position: (B,) in the brain box, 0 first, 1 last.
    age: (B,) years, nan where unknown. subject: (B,) index into the part's volumes. labels: (B, 1, H, W) int16, if all
    volumes have them. query, query_mask: (B, 1, H, W), what a query scanner makes, where there is one.
    """

    image: Required[Tensor]
    mask: Required[Tensor]
    position: Required[Tensor]
    age: Required[Tensor]
    subject: Required[Tensor]
    labels: Tensor
    query: Tensor
    query_mask: Tensor


def each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with every entry changed alike."""
    entries = cast(dict[str, Tensor], batch)
    return cast(Batch, {name: change(values) for name, values in entries.items()})


def draws(seed: int, step: int, rank: int = 0) -> Generator:
    """The chance of a step, on the CPU: a function of (seed, step, rank) alone, so that a resumed run draws the same.

    rank: of the processes that train together, where each draws for its own rows; 0 where all draw alike.
    """
    return torch.Generator().manual_seed(seed * 1_000_003 + step + rank * _PROCESS)
