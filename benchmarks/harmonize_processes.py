"""Several processes on one output: no scan twice, none lost, the same files as one process; and how long it takes.

    python benchmarks/harmonize_processes.py /path/to/ixi-hh processes.csv

Harmonizes the first 20 scans of a BIDS folder with the model of the package and its best method, by 1, 2 and 4
processes that are started at once, as the elements of a SLURM array are; then by two, of which one is killed while it
has a scan in hand. Stops with an error where a file differs from what one process made.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SCANS, PROCESSES = 20, (1, 2, 4)
DONE = re.compile(r"^  (sub-\w+): .*, [\d.]+ s$", re.M)  # what the command says of a scan


def main(data: Path, results: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for path in sorted(data.glob("sub-*/anat/*_T1w.nii.gz"))[:SCANS]:
            target = root / "in" / path.relative_to(data)
            target.parent.mkdir(parents=True)
            shutil.copy(path, target)
        with results.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["processes", "killed", "seconds", "cpu_seconds", "load", "scans_by_process"])
            for row in measured(root):
                writer.writerow(row)
                file.flush()


def measured(root: Path) -> Iterator[list[object]]:
    expected: dict[str, str] = {}
    for processes, killed in [*((n, 0) for n in PROCESSES), (2, 1)]:
        out = root / f"out-{processes}-{killed}"
        begin, used = time.perf_counter(), cpu_seconds()
        said = shared(root / "in", out, processes, kill=bool(killed))
        seconds, used = round(time.perf_counter() - begin, 1), round(cpu_seconds() - used, 1)
        made = Counter(name for each in said for name in DONE.findall(each))
        found = contents(out)
        expected = expected or found
        assert found == expected, "not the files of one process"
        assert len(made) == SCANS, "a scan was lost"
        assert set(made.values()) == {1}, "a scan was made twice"
        assert not list(out.rglob(".tmp-*")), "a temporary file was left"
        share = " ".join(str(len(DONE.findall(each))) for each in said)
        yield [processes, killed, seconds, used, round(os.getloadavg()[1], 1), share]
        print(f"{processes} processes, {killed} killed: {seconds} s, {used} s of processors, scans {share}", flush=True)


def cpu_seconds() -> float:
    """Of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shared(source: Path, out: Path, processes: int, *, kill: bool) -> list[str]:
    """What each of the processes said; they start together. With `kill` the last one dies in its second scan."""
    words = [sys.executable, "-u", "-m", "harmony", "harmonize", str(source), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    logs = [out.with_name(f"{out.name}-{k}.log") for k in range(processes)]
    running = []
    for log in logs:
        with log.open("w") as file:
            running.append(subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=environment))
    if kill:
        while not DONE.search(logs[-1].read_text()) and running[-1].poll() is None:
            time.sleep(0.05)
        time.sleep(0.3)
        running[-1].send_signal(signal.SIGKILL)
    codes = [process.wait() for process in running]
    assert codes == [0] * (processes - kill) + [-signal.SIGKILL] * kill, [log.read_text() for log in logs]
    return [log.read_text() for log in logs]


def contents(out: Path) -> dict[str, str]:
    """Image -> digest."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("sub-*/**/*.nii.gz")}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
