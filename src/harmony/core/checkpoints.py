"""The one door to a training's checkpoints: a damaged one is never trained on, and never in the way."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from harmony.core.errors import DamagedError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as `torch.save` wrote it: tensors and plain values, no code. Raises DamagedError.

    PyTorch writes a checksum (CRC-32) for each of its parts and does not compare it when it reads.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise DamagedError(path, f"the checksum of {damaged} differs")
        return torch.load(path, map_location="cpu", weights_only=True)
    except DamagedError:
        raise
    except Exception as error:  # zipfile and torch raise a dozen unrelated types on a damaged file
        raise DamagedError(path, f"no checkpoint ({type(error).__name__})") from error


def before(last: Path) -> Path:
    """Where the checkpoint before the last one is kept."""
    return last.with_name(f"{last.stem}-before{last.suffix}")


def resumable(last: Path) -> Path | None:
    """The checkpoint to go on from: the last one; where that is damaged, the one before; None to begin anew.

    The best one so far, `best.ckpt` beside it, cannot be made again but by the whole training: without it, too, None.
    What is damaged is named and removed.
    """
    for path in (last, before(last)):
        if path.exists() and (state := _readable(path)) is not None:
            best = last.with_name("best.ckpt")
            if not _validated(state) or _readable(best) is not None:
                return path
            print(f"{best}: missing or damaged: the training begins anew", flush=True)
            for each in (last, before(last), best):
                each.unlink(missing_ok=True)
    return None


def _readable(path: Path) -> dict[str, Any] | None:
    try:
        return read_checkpoint(path)
    except DamagedError as error:
        print(f"{error.args[0].split(' -> ')[0]}; going on without it", flush=True)
        path.unlink(missing_ok=True)
        return None


def _validated(state: dict[str, Any]) -> bool:
    """Whether a best checkpoint was kept before this one was written."""
    return any(isinstance(each, dict) and each.get("best_model_path") for each in state.get("callbacks", {}).values())
