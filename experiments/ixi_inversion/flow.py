"""What the flow adds to scanner inversion, on validation subjects: its evidence, its typicality, a step towards it.

python experiments/ixi_inversion/flow.py data.root=/path/to/ixi-hh part=val subjects=4

Each of three uses of log p, of the middle slices that the flow was trained on:

1. Evidence, -log2 p(x_t) - log2 |det dx_t/dy| over the brain (less is better), of the scan with a share t of the
   estimated contrast undone: at which t it is least, and at which t the truth is nearest.
2. Typicality, |bpd - E[bpd | sharpness, noise, brain]| in deviations of untouched training scans, two-sided, of the
   result where nothing is left alone or handed over: does it tell the results that are worse than the scan?
3. A step towards the likely: gradient descent on |G_s x - y|^2 / 2 sigma^2 - lambda log p(x) from the inverted image,
   G_s the estimated blur and sigma the estimated noise of the scan whose contrast is undone.
"""

from __future__ import annotations

import math
import sys
from statistics import fmean

import numpy as np
import torch
from ablation import STEPS, Case, case, setting
from torch import Tensor

from harmony import app
from harmony.core import Volume
from harmony.core.measures import robust_maximum
from harmony.flows import ImageDensity, mean_bits_per_dim
from harmony.methods import ScannerInversion
from harmony.metrics import psnr
from harmony.scanner import Contrast, estimate, gaussian_inside, texture

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
LAMBDAS = (0.3, 1.0, 3.0)
TURNS, RATE = 8, 0.1  # of the descent: RATE times a gradient that is preconditioned by the squared noise
LEAST_NOISE = 0.01  # a scan without read noise has some
WORSE = 0.5  # dB


class Inverted:
    """A query of the middle slices: what scanner inversion finds, and the image with a share of it undone."""

    def __init__(self, each: Case, method: ScannerInversion) -> None:
        self.middle, mask = each.truth.select(24, 2), each.truth.mask
        top = robust_maximum(each.query.image, mask, method.percentile)
        self.found = estimate(each.query.image / top, mask, method.map_network, method.prior)
        self.contrast = method.prior.shrunk(self.found.fit.contrast, method.any_probability).contrast
        self.expected = method.prior.expected
        self.mask, self.truth, self.query, self.top = mask, each.truth.image, each.query.image, top

    def gain(self, share: float) -> Tensor:
        return self.found.gain(Contrast.of(share * self.contrast.theta), self.expected, self.mask)

    def image(self, share: float) -> Tensor:
        return self.found.restored(self.gain(share), self.mask)

    def psnr(self, image: Tensor) -> float:
        return psnr(image[self.middle, None], self.truth[self.middle, None])


def bits(density: ImageDensity, image: Tensor) -> float:
    """(S, H, W) -> bits of all its slices."""
    return mean_bits_per_dim(density, image[:, None]) * image.numel()


def evidence(each: Inverted, density: ImageDensity, share: float) -> float:
    """Bits per voxel of the brain."""
    inside = each.mask[each.middle]
    volume = each.gain(share)[each.middle][inside].log2().sum()
    return (bits(density, each.image(share)[each.middle]) - float(volume)) / int(inside.sum())


def evidence_table(cases: dict[str, list[Inverted]], density: ImageDensity) -> None:
    print(
        "| scanner | share of least evidence | share nearest to the truth | PSNR at the first | at the whole |\n"
        + "|---" * 5
        + "|"
    )
    for name, found in cases.items():
        rows = []
        for each in found:
            quality = [each.psnr(each.image(share)) for share in SHARES]
            told = [evidence(each, density, share) for share in SHARES]
            least = int(np.argmin(told))
            rows.append((SHARES[least], SHARES[int(np.argmax(quality))], quality[least], quality[SHARES.index(1.0)]))
        print(f"| {name} |", " | ".join(f"{fmean(column):.2f}" for column in zip(*rows, strict=True)), "|", flush=True)


class Typicality:
    """bpd of the middle slices given their share of brain, sharpness and noise, from untouched training scans."""

    def __init__(self, density: ImageDensity, method: ScannerInversion, volumes: list[Volume]) -> None:
        self.density, self.texture = density, method.prior.texture
        rows = [self._seen(v.image, v.mask, v.select(24, 2)) for v in volumes]
        design = np.array([[1.0, *row[1:]] for row in rows])
        values = np.array([row[0] for row in rows])
        self.weights = np.linalg.lstsq(design, values, rcond=None)[0]
        self.deviation = float((values - design @ self.weights).std(ddof=design.shape[1]))

    def _seen(self, image: Tensor, mask: Tensor, middle: Tensor) -> tuple[float, float, float, float]:
        read, brain = self.texture.fit(texture(image, mask)), mask[middle]
        bpd = bits(self.density, image[middle]) / brain.numel()
        return bpd, float(brain.float().mean()), float(read.width), float(read.noise)

    def off(self, image: Tensor, mask: Tensor, middle: Tensor) -> float:
        own, *features = self._seen(image, mask, middle)
        return abs(own - float(np.dot(self.weights, [1.0, *features]))) / self.deviation


def typicality_table(cases: dict[str, list[Inverted]], typical: Typicality) -> None:
    print("| scanner | bpd off, deviations: scan | inverted | dB gained |\n" + "|---" * 4 + "|")
    told, harmed = [], []
    for name, found in cases.items():
        rows = []
        for each in found:
            image = each.image(1.0)
            gained = each.psnr(image) - each.psnr(each.query)
            off = [typical.off(x, each.mask, each.middle) for x in (each.query / each.top, image)]
            rows.append((*off, gained))
            told.append(off[1])
            harmed.append(gained < -WORSE)
        print(f"| {name} |", " | ".join(f"{fmean(column):.2f}" for column in zip(*rows, strict=True)), "|", flush=True)
    bad, good = ([t for t, h in zip(told, harmed, strict=True) if h is which] for which in (True, False))
    above = [(b > g) + 0.5 * (b == g) for b in bad for g in good]
    area = f"{fmean(above):.2f}" if above else "not defined"
    worse = f"{len(bad)} are more than {WORSE} dB worse than the scan"
    print(f"\nOf {len(told)} results {worse}; area under the curve: {area}")


def towards(each: Inverted, density: ImageDensity, weight: float) -> Tensor:
    """The inverted image after `TURNS` of descent; the data term is of the scan whose contrast is undone."""
    start, seen = each.image(1.0), each.found.resolution
    scan = torch.where(each.mask, each.gain(1.0) * each.query / each.top, 0)
    variance = max(float(seen.noise), LEAST_NOISE) ** 2
    x = start.clone()
    for _ in range(TURNS):
        off = gaussian_inside(x, each.mask, seen.width) - scan
        gradient = gaussian_inside(torch.where(each.mask, off, 0), each.mask, seen.width)
        if weight:
            for part in each.middle.split(8):
                leaf = x[part].clone().requires_grad_()
                draw = torch.Generator().manual_seed(0)
                nats = density.relaxed_bits_per_dim(leaf[:, None], draw).sum() * leaf[0].numel() * math.log(2)
                gradient[part] += weight * variance * torch.autograd.grad(nats, leaf)[0]
        x = torch.where(each.mask, x - RATE * gradient, 0).clamp(0, 1)
    return x


def step_table(cases: dict[str, list[Inverted]], density: ImageDensity) -> None:
    print("| scanner | inverted | data term alone |", " | ".join(f"lambda {weight:g}" for weight in LAMBDAS), "|")
    print("|---" * (3 + len(LAMBDAS)) + "|")
    for name, found in cases.items():
        rows = [
            (each.psnr(each.image(1.0)), *(each.psnr(towards(each, density, weight)) for weight in (0.0, *LAMBDAS)))
            for each in found
        ]
        print(f"| {name} |", " | ".join(f"{fmean(column):.2f}" for column in zip(*rows, strict=True)), "|", flush=True)


def main(words: list[str]) -> None:
    cfg, data, method = setting(words)
    density = app.load_network(cfg, data, "flow")
    volumes = data.volumes(cfg.part)[: cfg.subjects]

    @torch.no_grad()
    def inverted(domains) -> dict[str, list[Inverted]]:
        return {d or "untouched": [Inverted(case(cfg, v, v.labels, d), method) for v in volumes] for d in domains}

    seen = inverted(STEPS)
    with torch.no_grad():
        print("## Evidence\n")
        evidence_table({name: seen[name] for name in seen if name != "log"}, density)
        print("\n## Typicality\n")
        typical = Typicality(density, method, data.volumes("train")[::3])
        typicality_table(seen | inverted(cfg.data.groups.held_out), typical)
    print("\n## A step towards the likely\n")
    step_table({name: seen[name] for name in ("blur", "noise", "mix")}, density)


if __name__ == "__main__":
    main(sys.argv[1:])
