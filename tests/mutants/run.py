"""Mutations by hand: `table.yaml` says what to break, and which test must notice.

    python tests/mutants/run.py [WORD...] [--jobs N]      only those whose file or id has one of the words

Each mutation is one text of one file of `src/harmony`, replaced in a copy; then the named tests run on the copy. A
mutation that the tests do not notice has survived: a test is missing, or the code says something twice. Exit code 1
where one has survived, or where its text is no longer in the file. `make test` must be green before. Processes are
forked after the heavy libraries were imported once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
HEAVY = ["torch", "lightning.pytorch", "hydra", "monai.transforms", "monai.networks.nets", "nibabel", "skimage.metrics"]
HEAVY += ["sklearn.pipeline", "nflows.transforms", "scipy.stats", "matplotlib.pyplot", "torchmetrics"]
LIMIT = 600  # seconds of one mutation: it may run for ever
KILLED, SURVIVED, STALE = "killed", "SURVIVED", "STALE"


class Mutant(NamedTuple):
    """id: of the table. old: is once in the file. test: arguments of pytest."""

    id: str
    file: str
    old: str
    new: str
    test: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("words", nargs="*")
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    chosen = [each for each in table() if not asked.words or any(w in f"{each.id} {each.file}" for w in asked.words)]
    warm()
    counts = dict.fromkeys((KILLED, SURVIVED, STALE), 0)
    for mutant, outcome, seconds in outcomes(chosen, asked.jobs):
        counts[outcome] += 1
        print(f"{outcome:9s} {seconds:5.0f} s  {mutant.id}: {mutant.file}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    sys.exit(int(counts[KILLED] < len(chosen)))


def table() -> list[Mutant]:
    entries = yaml.safe_load((Path(__file__).parent / "table.yaml").read_text(encoding="utf-8"))
    return [Mutant(name, **entry) for name, entry in entries.items()]


def warm() -> None:
    for name in HEAVY:
        try:
            __import__(name)
        except ImportError:
            print(f"without {name}")


def outcomes(chosen: list[Mutant], jobs: int) -> Iterator[tuple[Mutant, str, float]]:
    """As they end."""
    running: dict[int, tuple[Mutant, float]] = {}
    waiting = list(chosen)
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop(0)
            text = (ROOT / "src" / "harmony" / mutant.file).read_text(encoding="utf-8")
            if text.count(mutant.old) != 1:
                yield mutant, STALE, 0
            else:
                running[start(mutant)] = mutant, time.monotonic()
        if running:
            child, status = os.wait()
            mutant, begin = running.pop(child)
            yield mutant, SURVIVED if status == 0 else KILLED, time.monotonic() - begin


def start(mutant: Mutant) -> int:
    """The process id of a process that runs the tests on a copy of the sources; it ends with 0 where all pass."""
    child = os.fork()
    if child:
        return child
    copy = Path(tempfile.mkdtemp(prefix="mutant-"))
    code = 1
    try:
        for name in ("src", "conf"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        path = copy / "src" / "harmony" / mutant.file
        path.write_text(path.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")
        code = passed(copy, mutant.test)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
        os._exit(code)


def passed(copy: Path, test: str) -> int:
    import signal

    import pytest

    signal.alarm(LIMIT)
    sys.path.insert(0, str(copy / "src"))
    sys.dont_write_bytecode = True
    os.environ["PYTHONPATH"] = str(copy / "src")  # of commands that the tests start
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    os.chdir(ROOT)
    words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *test.split()]
    return int(pytest.main(words))


if __name__ == "__main__":
    main()
