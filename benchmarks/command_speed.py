"""Processor time of `harmony harmonize` of one brain of 1 mm, as a whole command, against others in the same run.

    python benchmarks/command_speed.py [--repeats 3] [--out FILE]

The made-up subject of 1 mm (skull-stripped) has no mask and needs none. One thread; the commands take turns, and the
least time of each counts: importing torch; the start of harmonizing, which is all that it imports before the first
scan; the command; N4 by SimpleITK as it is mostly called (shrink 4), from file to file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from harmony.data.sources.sites import SimulatedSites

N4 = """
import sys
import SimpleITK as sitk
image = sitk.ReadImage(sys.argv[1], sitk.sitkFloat32)
brain = image > 0
corrector = sitk.N4BiasFieldCorrectionImageFilter()
corrector.Execute(sitk.Shrink(image, [4] * 3), sitk.Shrink(brain, [4] * 3))
sitk.WriteImage(image / sitk.Exp(corrector.GetLogBiasFieldAsImage(image)), sys.argv[2])
"""
START = "import harmony.harmonize, harmony.delivery, harmony.methods"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        scan = SimulatedSites(
            root / "site", sites=["A"], scanners={"A": {"bias": 0.2, "noise": 0.02}}, variation=0.1, travelling=False,
            subjects=1, seed=1, resolution=1, percentile=99.5,
        ).scans()[0].path  # fmt: skip
        out = root / "out.nii.gz"
        commands = {
            "import torch": ["-c", "import torch"],
            "start": ["-c", START],
            "harmonize": ["-m", "harmony", "harmonize", str(scan), str(out)],
            "N4": ["-c", N4, str(scan), str(out)],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(args.repeats):
            for name, words in commands.items():
                out.unlink(missing_ok=True)
                seconds[name].append(processor_seconds(words))
    least = {name: round(min(times), 2) for name, times in seconds.items()}
    for name, time in least.items():
        print(f"{name}: {time} s, {time / least['import torch']:.2f} x import torch, {time / least['N4']:.2f} x N4")
    if args.out is not None:
        args.out.write_text(json.dumps(least, indent=1) + "\n")


def processor_seconds(words: list[str]) -> float:
    """Of a command of Python's, its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    single = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=os.environ | single)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
