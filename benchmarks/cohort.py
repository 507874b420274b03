"""Time and memory of `harmony harmonize` for 1, 10 and 100 scans (stand-ins: one scan under other names).

    python benchmarks/cohort.py --scan T1w.nii.gz --model MODEL [--counts 1 10 100] [--method NAME] [--out FILE]

Each count is one command, started anew. Time is what its processes had of the CPU, and on the clock; memory the most
that any of them held; disk what it wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--method", default="histogram_matching")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    args = parser.parse_args()
    found = []
    for count in args.counts:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measured(args, count, Path(folder)))
        print(found[-1], flush=True)
    if args.out is not None:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


def measured(args: argparse.Namespace, count: int, folder: Path) -> dict[str, float]:
    scans = folder / "scans"
    for k in range(count):
        name = f"sub-{k:04d}"
        (scans / name / "anat").mkdir(parents=True)
        (scans / name / "anat" / f"{name}_T1w.nii.gz").symlink_to(args.scan.resolve())
    (scans / "dataset_description.json").write_text('{"Name": "stand-ins", "BIDSVersion": "1.8.0"}')
    out = folder / "out"
    words = [f"input={scans}", f"output={out}", f"model={args.model}", f"method={args.method}"]
    begin, process = time.monotonic(), subprocess.Popen([sys.executable, "-m", "harmony.harmonize", *words])
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"the command failed: {os.waitstatus_to_exitcode(status)}")
    return {
        "scans": count,
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "clock_seconds": round(time.monotonic() - begin, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
        "written_mib": round(sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 2**20, 1),
    }


if __name__ == "__main__":
    main()
