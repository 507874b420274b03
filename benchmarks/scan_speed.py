"""Seconds per scan of BlindHarmony and of the adaptation of Harmonizing Flows, against plain loops of the papers.

    python benchmarks/scan_speed.py [--small] [--out FILE]

Plain BlindHarmony: slice by slice, stock nflows, numbers fetched in every iteration. Plain adaptation: the
plain networks of `harmonizing_speed`, everything kept for the backward pass. Same weights, same numbers of iterations
and passes; how far apart the results are is printed too. The two take turns; of a CPU the time is the process's own.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path

import flow_speed
import harmonizing_speed
import torch
from torch import Tensor

from harmony.core import Stack
from harmony.core.reference import Reference
from harmony.distances import StructuralDistance
from harmony.flows import ImageDensity
from harmony.methods import Alternating, BlindHarmony

# Those of 2 mm scans: conf/flow/spline.yaml; the networks of conf/experiment/harmonizing_flows_abide.yaml.
SPLINES = {**flow_speed.PAPER, "levels": 3, "steps": 4, "hidden_channels": 48, "blocks": 1, "bits": 8}
COUPLINGS = {
    "flow": {**harmonizing_speed.FLOW, "widths": (8, 16, 24, 32), "dequantization": "uniform"},
    "harmonizer": (16, 32, 48, 64, 64),
}
ITERATIONS, ALPHA, PASSES = 10, 1e-3, 2
DISTANCE = StructuralDistance(b1=0.17, relative=True, b2=1e-3, centered=False, percentile=30.0, floor=0.05)


def main(words: list[str] | None = None) -> dict:
    args = arguments(words)
    flow_speed.prepare(args)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    stack = scan(8 if args.small else 48, (32, 32) if args.small else (80, 96)).to(device)
    report: dict = {"machine": flow_speed.machine(device), "size": [*stack.image.shape]}
    report["with brain"] = int(stack.with_brain.sum())
    pairs = {"blindharmony": blindharmony(args.small, stack), "adaptation": adaptation(args.small, stack)}
    for name, pair in pairs.items():
        made: dict[str, Tensor] = {}
        jobs = {variant: functools.partial(_keep, made, variant, run) for variant, run in pair.items()}
        times = flow_speed.interleaved(jobs, 1 if args.small else args.repeats, device)
        apart = (made["ours"] - made["plain"]).abs().max().item()
        report[name] = {variant: round(ms / 1e3, 2) for variant, ms in times.items()} | {"apart": apart}
        print(name, report[name], f"{times['plain'] / times['ours']:.2f}x", flush=True)
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return report


def scan(slices: int, size: tuple[int, int]) -> Stack:
    """A scan of so many slices, of which the first and the last eighth hold no brain."""
    image = flow_speed.images(slices, *size)
    empty = slices // 8
    image[:empty] = image[slices - empty :] = 0
    return Stack(image, image > 0, torch.linspace(0, 1, slices))


def blindharmony(small: bool, stack: Stack) -> dict[str, Callable[[], Tensor]]:
    settings = flow_speed.SMALL if small else SPLINES
    built = flow_speed.build(settings, stack.image[-stack.image.shape[0] // 2 :][:4], passes=3)
    mean = stack.image[stack.with_brain].mean(0, keepdim=True).expand(2, -1, -1, -1).cpu()
    reference = Reference(mean, torch.zeros(2, 2), torch.ones(2))
    solver = Alternating(iterations=ITERATIONS, alpha=ALPHA, keep_level=False)
    method = BlindHarmony(density=built["float32"], reference=reference, distance=DISTANCE, solver=solver, batch=16)
    return {
        "plain": lambda: torch.cat([plain_slice(built["stock"], reference, stack, k) for k in range(len(stack))]),
        "ours": lambda: method.harmonize(stack).image,
    }


def plain_slice(density: ImageDensity, reference: Reference, stack: Stack, k: int) -> Tensor:
    """x <- x - grad D(x, x_q);  z <- (1 - alpha) f(x);  x <- clip(f^-1(z), 0, 1), as the paper says it."""
    query, mask = stack.image[k : k + 1], stack.mask[k : k + 1]
    distance, mean = DISTANCE.to(query, mask), reference.start(stack.position[k : k + 1])
    x = torch.where(mask, torch.where(mean > 0, mean, query), 0)
    trace = []
    for _ in range(ITERATIONS):
        x = x.detach().requires_grad_()
        value = distance(x)
        (gradient,) = torch.autograd.grad(value.sum(), x)
        with torch.no_grad():
            z = (1 - ALPHA) * density.encode(x - gradient).z
            x = torch.where(mask, density.decode(z).clamp(0, 1), 0)
        trace.append((value.item(), z.square().sum().item()))
    return x


def adaptation(small: bool, stack: Stack) -> dict[str, Callable[[], Tensor]]:
    settings = harmonizing_speed.SMALL if small else COUPLINGS

    def run(variant: str) -> Tensor:
        method = harmonizing_speed.method(*harmonizing_speed.build(settings, variant), PASSES, batch=16)
        method.adapt([stack])
        return method.harmonize(stack).image

    return {"plain": functools.partial(run, "plain"), "ours": functools.partial(run, "float32")}


def _keep(made: dict[str, Tensor], name: str, run: Callable[[], Tensor]) -> None:
    made[name] = run()


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny networks, once: does it run?")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
