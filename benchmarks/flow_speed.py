"""Times the spline flow against the same flow built from stock nflows parts, with the same weights.

    python benchmarks/flow_speed.py [--small] [--batch N] [--compile] [--out FILE]

Everything runs interleaved in one process and medians are printed: of a CPU the time that the process had it, so that
other jobs on the machine count little. Peak memory comes from one process per variant. Ratios above 1 mean faster than
stock. The floor is what a task's convolutions alone take (see `floor`).
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from floor import convolutions_of
from stock_flow import stock_flow
from torch import Tensor
from torch.nn import functional as F

from harmony.core.machine import keep_memory
from harmony.flows import ImageDensity, spline_flow

SPLINE = {"bins": 8, "tail_bound": 3.0, "min_bin_width": 1e-3, "min_bin_height": 1e-3, "min_derivative": 1e-3}
PAPER = {**SPLINE, "levels": 4, "steps": 7, "hidden_channels": 96, "blocks": 3, "bits": 12, "seed": 0}
SMALL = {**PAPER, "levels": 2, "steps": 1, "hidden_channels": 16, "blocks": 1}
VARIANTS = ("stock", "float32", "bfloat16")
TASKS = ("encode", "decode", "train")


def main() -> None:
    args = arguments(__doc__)
    prepare(args)
    if args.peak:
        device, settings, image = _setting(args)
        variant, task = args.peak
        job(build(settings, image, passes=0)[variant], task, image)()
        print(peak_mib(device))
        return
    report = measured(args)
    report["peak_mib"] = {f"{t} {v}": peak(__file__, v, t, args) for t in ("encode", "train") for v in VARIANTS}
    show(report)
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def measured(args: argparse.Namespace) -> dict:
    """Everything but the memory."""
    device, settings, image = _setting(args)
    densities = build(settings, image, passes=3)
    if args.compile:
        for name in ("float32", "bfloat16"):
            densities[name].transform.compile()
    return {
        "machine": machine(device),
        "size": [*image.shape],
        "agreement": agreement(densities, image),
        "milliseconds": timings(densities, image, 1 if args.small else args.repeats),
    }


def _setting(args: argparse.Namespace) -> tuple[torch.device, dict, Tensor]:
    warnings.filterwarnings("ignore", message=".*triangular_solve")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings, (height, width) = (SMALL, (32, 48)) if args.small else (PAPER, (144, 176))
    return device, settings, images(args.batch, height, width).to(device)


def images(count: int, height: int, width: int) -> Tensor:
    """Smooth blobs with a little noise, zero outside an ellipse: as bright and as black as a slice of a brain."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 1, 9, 11, generator=generator)
    fine = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    inside = (x / 0.8).square() + (y / 0.9).square() < 1
    return ((fine + 0.02 * torch.randn(fine.shape, generator=generator)) * inside).clamp(0, 1)


def build(settings: dict, image: Tensor, passes: int) -> dict[str, ImageDensity]:
    """The three variants with one set of weights, after some passes that set every norm."""
    torch.manual_seed(0)
    ours = spline_flow(**settings).to(image.device)
    with torch.no_grad():
        for _ in range(passes):
            ours.bits_per_dim(image)
    fast = spline_flow(**settings, conditioner_dtype="bfloat16").to(image.device)
    fast.load_state_dict(ours.state_dict())
    stock = stock_flow(ours, *image.shape[2:], **settings)
    return {"stock": stock.eval(), "float32": ours.eval(), "bfloat16": fast.eval()}


@torch.no_grad()
def agreement(densities: dict[str, ImageDensity], image: Tensor) -> dict[str, dict[str, float]]:
    """Largest differences from stock, and of each variant's own round trip."""
    z = densities["stock"].encode(image).z
    bpd, decoded = densities["stock"].bits_per_dim(image), densities["stock"].decode(z)
    return {
        name: {
            "z": (d.encode(image).z - z).abs().max().item(),
            "decoded": (d.decode(z) - decoded).abs().max().item(),
            "bpd": (d.bits_per_dim(image) - bpd).abs().max().item(),
            "round trip": (d.decode(d.encode(image).z) - image).abs().max().item(),
        }
        for name, d in densities.items()
    }


def job(density: ImageDensity, task: str, image: Tensor) -> Callable[[], object]:
    if task == "train":
        return _training_step(density, image)
    density.eval()
    z = density.encode(image).z.detach()
    call = (lambda: density.encode(image)) if task == "encode" else (lambda: density.decode(z))
    return torch.no_grad()(call)


def timings(densities: dict[str, ImageDensity], image: Tensor, repeats: int) -> dict[str, float]:
    times: dict[str, float] = {}
    for task in TASKS:
        jobs = {f"{task} {name}": job(density, task, image) for name, density in densities.items()}
        jobs |= {f"{task} convolutions of {name}": convolutions_of(jobs[f"{task} {name}"]) for name in densities}
        times |= interleaved(jobs, repeats, image.device)
    return times


def interleaved(jobs: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median milliseconds. The jobs take turns, so a slow minute of the machine slows them all."""
    seen: dict[str, list[float]] = {name: [] for name in jobs}
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    for turn in range(repeats + 1):
        for name, call in jobs.items():
            start = clock()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn > 0:  # the first turn warms up
                seen[name].append(1e3 * (clock() - start))
    return {name: round(median(values), 2) for name, values in seen.items()}


def peak(program: str, variant: str, task: str, args: argparse.Namespace) -> float:
    """MiB that one process prints which runs one variant of one task."""
    command = [sys.executable, program, "--peak", variant, task, "--threads", str(args.threads)]
    command += ["--batch", str(args.batch)]
    done = subprocess.run([*command, *(["--small"] if args.small else [])], check=True, capture_output=True, text=True)
    return round(float(done.stdout), 1)


def show(report: dict) -> None:
    print("  ".join(f"{k}: {v}" for k, v in report["machine"].items()), " size:", report["size"])
    times, memory = report["milliseconds"], report["peak_mib"]
    for task in TASKS:
        for name in VARIANTS:
            mine = times[f"{task} {name}"]
            mib = f"{memory[f'{task} {name}']:8.0f} MiB" if f"{task} {name}" in memory else ""
            print(f"{task:8}{name:26}{mine:10.1f} ms {times[f'{task} stock'] / mine:6.2f}x {mib}")
    show_floors(times)
    for name, values in report["agreement"].items():
        print(f"{name:10}", "  ".join(f"{k} {v:.1e}" for k, v in values.items()))


def show_floors(times: dict[str, float]) -> None:
    for name, value in times.items():
        task, _, variant = name.partition(" convolutions of ")
        if variant:
            share = times[f"{task} {variant}"] / value
            print(f"{task:8}{variant:26} {share:.2f}x the {value:.1f} ms of its convolutions")


def _training_step(density: ImageDensity, image: Tensor) -> Callable[[], object]:
    density.train()
    optimizer = torch.optim.Adam(density.parameters(), lr=1e-5)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        optimizer.zero_grad()
        density.bits_per_dim(image, generator).mean().backward()
        optimizer.step()

    return step


def peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the memory of the parent that this process was forked from
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine(device: torch.device) -> dict[str, str | int]:
    name = platform.processor()
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
    elif Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    return {"device": name, "torch": torch.__version__, "threads": torch.get_num_threads()}


def prepare(args: argparse.Namespace) -> None:
    """As the program's entry points do."""
    keep_memory()
    torch.set_num_threads(args.threads)


def arguments(description: str, words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny networks, once: does it run?")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4, help="slices a step")
    parser.add_argument("--compile", action="store_true", help="our variants through torch.compile")
    parser.add_argument("--peak", nargs=2, metavar=("VARIANT", "TASK"), help=argparse.SUPPRESS)
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
