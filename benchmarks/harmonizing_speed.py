"""Times Harmonizing Flows against a plain eager version of the same networks, with the same weights.

    python benchmarks/harmonizing_speed.py [--small] [--batch N] [--compile] [--out FILE]

train: a step of the flow (forward, backward, Adam). adapt: a step of test-time adaptation (harmonizer, frozen flow,
backward, Adam). harmonize: the harmonizer's forward pass. Plain: contiguous layout, ELU of x and -x then concatenation,
copies around the norms, everything kept for the backward pass. Runs are interleaved in one process and medians are
printed, of a CPU of the time that the process had it; peak memory comes from one process per variant and job. The
floor is what the convolutions of a step alone take, those that it runs again among them (see `floor`).
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from types import MethodType

import torch
from floor import convolutions_of
from flow_speed import arguments, images, interleaved, machine, peak, peak_mib, prepare, show_floors
from torch import Tensor, nn
from torch.nn import functional as F

from harmony.core import Stack
from harmony.core.reference import Reference
from harmony.flows import ImageDensity, harmonizing_flow
from harmony.methods import Budget, HarmonizingFlows
from harmony.networks import CouplingUNet, Harmonizer
from harmony.networks.blocks import ChannelNorm, ConcatELU

FLOW = {"levels": 2, "couplings": 4, "logit_margin": 1e-5, "dequantization": "variational", "bits": 8, "seed": 0}
PAPER = {"flow": {**FLOW, "widths": (16, 32, 48, 64)}, "harmonizer": (16, 32, 48, 64, 64), "size": (224, 224)}
SMALL = {"flow": {**FLOW, "levels": 1, "couplings": 1, "widths": (4, 8)}, "harmonizer": (4, 8), "size": (32, 32)}
VARIANTS = ("plain", "float32", "bfloat16")
JOBS = ("train", "adapt", "harmonize")


def main() -> None:
    args = arguments(__doc__)
    prepare(args)
    if args.peak:
        device, settings, image = _setting(args)
        variant, name = args.peak
        work = job(name, *build(settings, variant), image)
        before = peak_mib(device)
        work()
        work()
        print(peak_mib(device) - before)
        return
    report = measured(args)
    report["peak_mib"] = {f"{name} {v}": peak(__file__, v, name, args) for name in JOBS for v in VARIANTS}
    show(report)
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def measured(args: argparse.Namespace) -> dict:
    """Everything but the memory."""
    device, settings, image = _setting(args)
    built = {variant: build(settings, variant) for variant in VARIANTS}
    if args.compile:
        for variant in ("float32", "bfloat16"):
            built[variant][0].transform.compile()
    times: dict[str, float] = {}
    for name in JOBS:
        work = {f"{name} {variant}": job(name, *built[variant], image) for variant in VARIANTS}
        work |= {f"{name} convolutions of {v}": convolutions_of(work[f"{name} {v}"]) for v in VARIANTS}
        times |= interleaved(work, 1 if args.small else args.repeats, device)
    bpd = {variant: round(built[variant][0].bits_per_dim(image).mean().item(), 5) for variant in VARIANTS}
    return {"machine": machine(device), "size": [*image.shape], "bpd": bpd, "milliseconds": times}


def _setting(args: argparse.Namespace) -> tuple[torch.device, dict, Tensor]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings = SMALL if args.small else PAPER
    return device, settings, images(args.batch, *settings["size"]).to(device)


def build(settings: dict, variant: str) -> tuple[ImageDensity, Harmonizer]:
    """The same weights in every variant, moved off the neutral point."""
    torch.manual_seed(0)
    dtype = "bfloat16" if variant == "bfloat16" else "float32"
    flow = harmonizing_flow(**settings["flow"], recompute=variant != "plain", conditioner_dtype=dtype)
    harmonizer = Harmonizer(widths=settings["harmonizer"])
    with torch.no_grad():
        for parameter in (*flow.parameters(), *harmonizer.parameters()):
            parameter.add_(0.01 * torch.randn(parameter.shape))
    if variant == "plain":
        for module in (*flow.modules(), *harmonizer.modules()):
            if type(module) in PLAIN:
                module.forward = MethodType(PLAIN[type(module)], module)
            if isinstance(module, CouplingUNet | Harmonizer):
                module.first.register_forward_pre_hook(lambda _, args: (args[0].contiguous(),))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return flow.to(device), harmonizer.to(device)


def job(name: str, flow: ImageDensity, harmonizer: Harmonizer, image: Tensor) -> Callable[[], object]:
    if name == "harmonize":
        return torch.no_grad()(lambda: harmonizer(image))
    if name == "train":
        flow.train().requires_grad_(True)
        optimizer = torch.optim.Adam(flow.parameters(), lr=1e-6)
        noise = torch.Generator().manual_seed(0)

        def step() -> None:
            optimizer.zero_grad()
            flow.bits_per_dim(image, noise).mean().backward()
            optimizer.step()

        return step
    return adaptation_step(flow, harmonizer, image)


def method(flow: ImageDensity, harmonizer: Harmonizer, passes: int, batch: int) -> HarmonizingFlows:
    """The published adaptation of these two, that stops after so many passes."""
    return HarmonizingFlows(
        density=flow,
        harmonizer=harmonizer,
        reference=Reference(torch.zeros(2, 1, 1, 1), torch.zeros(2, 2), torch.ones(2)),
        reference_bpd=0.0,
        optimizer=functools.partial(torch.optim.Adam, lr=4e-6),
        units="grey_levels",
        trainable="all",
        stop=Budget(passes=passes),
        jacobian=0.0,
        guard=False,
        count=None,
        step=1,
        batch=batch,
        seed=0,
    )


def adaptation_step(flow: ImageDensity, harmonizer: Harmonizer, image: Tensor) -> Callable[[], object]:
    """The step that the method itself makes, on one batch."""
    adapting = method(flow, harmonizer, passes=1, batch=len(image))
    slices = adapting._slices(Stack(image, image > 0, torch.zeros(len(image), device=image.device)))
    optimizer, noise = adapting._optimizer(), torch.Generator().manual_seed(0)
    return lambda: adapting._step(optimizer, slices, noise)


def _plain_elu(self: ConcatELU, x: Tensor | tuple[Tensor, ...]) -> Tensor:
    x = x if isinstance(x, Tensor) else torch.cat(x, dim=1)
    return torch.cat((F.elu(x), F.elu(-x)), dim=1)


def _plain_norm(self: ChannelNorm, x: Tensor) -> Tensor:
    return nn.LayerNorm.forward(self, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


PLAIN: dict[type, Callable] = {ConcatELU: _plain_elu, ChannelNorm: _plain_norm}


def show(report: dict) -> None:
    print("  ".join(f"{k}: {v}" for k, v in report["machine"].items()), " size:", report["size"])
    times, memory = report["milliseconds"], report["peak_mib"]
    for name in JOBS:
        for variant in VARIANTS:
            key, plain = f"{name} {variant}", f"{name} plain"
            faster, share = times[plain] / times[key], memory[key] / max(memory[plain], 1e-9)
            print(f"{name:10}{variant:10}{times[key]:10.1f} ms {faster:6.2f}x {memory[key]:8.0f} MiB {share:6.2f}")
    show_floors(times)
    print("bpd", report["bpd"])


if __name__ == "__main__":
    main()
