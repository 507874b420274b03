"""Everything that needs a CUDA card, one piece after the other, in calls of at most ten minutes.

    python benchmarks/gpu.py [--out runs/gpu] [--seconds 570]        (`make gpu`)

What is done is kept in OUT/state.json after each piece; the same command again goes on with the rest. Exit code 0: all
is done. 75: time was up, start it again. 1: a piece failed (the others were done; it is tried again by the next call).
--dry runs each piece once at a tiny size, on whatever there is: a CPU will do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from gpu_pieces import PIECES, Room

from harmony.core.files import write_atomic

AGAIN = 75  # EX_TEMPFAIL


def main(words: list[str] | None = None) -> int:
    args = arguments(words)
    if not args.dry and not torch.cuda.is_available():
        print("no CUDA card here: nothing was run (--dry tries the pieces at a tiny size)", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    room = Room(device, args.dry, time.monotonic() + args.seconds, args.out, args.train_seconds)
    return run(PIECES, room)


def run(pieces: Mapping[str, tuple[float, Callable[[Room], dict | None]]], room: Room) -> int:
    """pieces: name -> seconds that it may take (it is not begun with less), and what measures; None: not done yet."""
    path = room.out / "state.json"
    state = json.loads(path.read_text()) if path.exists() else {}
    for name, (seconds, measure) in pieces.items():
        if name in state and "error" not in state[name]:
            continue
        if room.left() < seconds and not room.tiny:
            return _again(state, pieces)
        begin = time.monotonic()
        try:
            found = measure(room)
        except Exception as error:
            traceback.print_exc()
            found = {"error": f"{type(error).__name__}: {error}"}
        if found is None:
            return _again(state, pieces)
        state[name] = {**found, "seconds": round(time.monotonic() - begin, 1), "dry": room.tiny}
        write_atomic(path, json.dumps(state, indent=1) + "\n")
        print(f"{name}: {json.dumps(state[name])}", flush=True)
    failed = [name for name in pieces if "error" in state[name]]
    print(f"failed: {', '.join(failed)}" if failed else f"all {len(pieces)} pieces are done: {path}")
    return 1 if failed else 0


def _again(state: Mapping[str, dict], pieces: Mapping[str, object]) -> int:
    print(f"time is up with {len(state)} of {len(pieces)} pieces done: start the same command again")
    return AGAIN


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--seconds", type=float, default=570.0, help="of this call")
    parser.add_argument("--train-seconds", type=float, default=1200.0, help="of the training, over all calls")
    parser.add_argument("--dry", action="store_true", help="tiny sizes, on a CPU too")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
