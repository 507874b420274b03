"""What the program runs on."""

from __future__ import annotations

import ctypes

import torch


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def keep_memory() -> None:
    """Let this process keep the memory that it frees, for the next tensor; on Linux, elsewhere nothing.

    glibc hands every map of a layer back to the system and asks for it again, and the system fills it with zeros, which
    a training step on a CPU feels.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc alone
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # of malloc.h
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, (1 << 31) - 1)
