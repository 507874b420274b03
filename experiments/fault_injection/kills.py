"""Kill harmony at start, in work and while it writes a file; start again; compare with what was never interrupted.

python experiments/fault_injection/kills.py [OUT.json] [FOLDER]     (a folder to keep)
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from setting import (
    EVERYTHING,
    TINY,
    Command,
    compose_once,
    evaluation,
    harmonized,
    models,
    scans_of_somebody,
    signal_in_the_kth_write,
    signal_later,
)

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOMENTS = ("start", "work", "writing")
EACH = {"train": 15, "evaluate": 15, "harmonize": 12, "sweep": 9}  # 51 kills
CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}


def main() -> None:
    random.seed(0)
    root = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp(prefix="faults-"))
    os.environ["HARMONY_CACHE"] = str(root / "cache")
    compose_once(root / "composed")
    trained = root / "trained"
    assert Command("train", EVERYTHING, models).run(trained) == 0, (trained / "output.txt").read_text()
    scans = root / "scans"
    if not scans.exists():
        scans_of_somebody(root / "cache", scans)
    flow = next(trained.glob("runs/models/flow-*"))
    told = [f"input={scans}", "output=out", f"model={flow}", "method=histogram_matching"]
    commands = [
        Command("train", [*TINY, "stages=[flow]"], models),
        Command("evaluate", [*EVERYTHING, "evaluation.subjects=2"], evaluation),
        Command("harmonize", told, harmonized),
        Command("sweep", ["-m", *TINY, "stages=[flow]", "seed=1,2", "tasks.flow.max_steps=6"], models),
    ]
    kills = []
    for command in commands:
        straight, seconds = uninterrupted(command, root, trained)
        for k in range(EACH[command.name]):
            signum, moment = SIGNALS[k % 3], MOMENTS[k // 3 % 3]
            kills.append(kill(command, root, trained, signum, moment, straight, seconds))
            print(kills[-1], flush=True)
    if len(sys.argv) <= 2:
        shutil.rmtree(root)
    report(kills, Path(sys.argv[1]) if len(sys.argv) > 1 else None)


def prepared(command: Command, root: Path, trained: Path) -> Path:
    """A folder of the command's own: an evaluation has its models, the others have nothing."""
    folder = Path(tempfile.mkdtemp(dir=root))
    if command.name == "evaluate":
        shutil.copytree(trained / "runs" / "models", folder / "runs" / "models")
    return folder


def uninterrupted(command: Command, root: Path, trained: Path) -> tuple[str, float]:
    folder, begin = prepared(command, root, trained), time.monotonic()
    assert command.run(folder) == 0, (folder / "output.txt").read_text()
    return command.result(folder), time.monotonic() - begin


def kill(
    command: Command,
    root: Path,
    trained: Path,
    signum: signal.Signals,
    moment: str,
    straight: str,
    seconds: float,
) -> dict[str, Any]:
    """One kill, and what came of it. Where the command had ended before, once more, and sooner."""
    for sooner in (1.0, 0.5, 0.25):
        folder = prepared(command, root, trained)
        if moment == "writing":
            write = random.randint(1, max(1, round(12 * sooner)))
            child = command.start(folder, signal_in_the_kth_write(signum, write))
            code, when = signal_later(child, signal.SIGKILL, 60 + 20 * seconds), f"write {write}"
        else:
            after = sooner * seconds * (random.uniform(0, 0.2) if moment == "start" else random.uniform(0.2, 0.8))
            child = command.start(folder)
            code, when = signal_later(child, signum, after), f"{after:.1f} s"
        if code != 0:
            break
        shutil.rmtree(folder)
    else:
        folder = prepared(command, root, trained)
    again = command.run(folder)
    said = (folder / "output.txt").read_text(errors="replace")
    found = {
        "command": command.name, "signal": signum.name, "moment": moment, "when": when, "code": code, "again": again,
        "expected": code in (CODES[signum], 0), "traceback": "Traceback" in said,
        "identical": again == 0 and command.result(folder) == straight,
    }  # fmt: skip
    if found["traceback"] or not (found["identical"] and found["expected"]):
        print(said[-3000:], flush=True)
    shutil.rmtree(folder)
    return found


def report(kills: list[dict[str, Any]], out: Path | None) -> None:
    """The table of the README."""
    print("\n| command | signal | kills | ended before it came | tracebacks | another end |\n|---|---|---|---|---|---|")
    for name, signum in dict.fromkeys((each["command"], each["signal"]) for each in kills):
        some = [each for each in kills if (each["command"], each["signal"]) == (name, signum)]
        count = Counter(key for each in some for key in ("traceback", "identical") if each[key])
        early, others = sum(each["code"] == 0 for each in some), len(some) - count["identical"]
        print(f"| {name} | {signum} | {len(some)} | {early} | {count['traceback']} | {others} |")
    moments = dict(Counter(each["moment"] for each in kills if each["code"] != 0))
    odd = [each for each in kills if not each["expected"]]
    print(f"\n{len(kills)} kills; by moment: {moments}; unexpected exit codes: {odd}")
    if out:
        out.write_text(json.dumps(kills, indent=1) + "\n")


if __name__ == "__main__":
    main()
