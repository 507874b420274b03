"""Which step of scanner inversion gives what, and what its remaining error is made of, on validation subjects:

python experiments/ixi_inversion/ablation.py data.root=/path/to/ixi-hh part=val subjects=11

First what is read of each scanner (only='[mix]': of these alone): the numbers that decide, and the Dice of the
method's own tissue maps. Then the steps: each row adds one to the row above, and the rows `true ...` replace one
estimate by the truth. PSNR over all slices and over the 24 middle ones that the other records have, and the Dice of the
tissue judge on the latter. Each number is a mean, and in brackets the least and the largest.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from harmony import app
from harmony.core import CheckpointError, Volume
from harmony.core.measures import FWHM_PER_SIGMA, robust_maximum
from harmony.core.reference import Reference
from harmony.data import SliceDataModule
from harmony.methods import ScannerInversion
from harmony.metrics import psnr
from harmony.metrics.labels import mean_dice
from harmony.scanner import Contrast, Estimate, Prior, Resolution, estimate
from harmony.scanner.tissue_maps import one_hot

STEPS = (None, "tissue", "bias", "blur", "noise", "mix", "log")
SHARES = (0.2, 0.4, 0.6)  # of the histogram


@dataclass(frozen=True)
class Case:
    """A reference volume, the same as a query scanner sees it, that scanner's true blur (voxels) and noise; the labels
    of the method's tissues, (S, H, W)."""

    truth: Volume
    query: Volume
    true: Resolution
    tissues: torch.Tensor


def case(cfg, volume: Volume, tissues: torch.Tensor, domain: str | None) -> Case:
    if domain is None:
        return Case(volume, volume, Resolution(torch.zeros(3), torch.zeros(())), tissues)
    scanner = app.scanner(cfg, domain)
    amounts = scanner._amounts()
    side = torch.tensor(volume.spacing(torch.arange(2)))
    width = amounts.get("blur", 0.0) / FWHM_PER_SIGMA / side
    return Case(volume, scanner(volume), Resolution(width.float(), torch.tensor(amounts.get("noise", 0.0))), tissues)


def steps(each: Case, method: ScannerInversion) -> dict[str, torch.Tensor]:
    """Name -> (S, H, W) image."""
    network, prior = method.map_network, method.prior
    mask = each.truth.mask
    top = robust_maximum(each.query.image, mask, method.percentile)
    image = each.query.image / top
    stack = each.query.stack(torch.arange(len(image)))

    def applied(found, contrast):
        return found.restored(found.gain(contrast, prior.expected, mask), mask)

    def shrunk(estimated: Estimate) -> Contrast:
        return prior.shrunk(estimated.fit.contrast, method.any_probability).contrast

    nothing = Resolution(torch.zeros(3), torch.zeros(()))
    sharp = estimate(image, mask, network, prior, resolution=nothing)
    found = estimate(image, mask, network, prior)
    contrast = shrunk(found)
    inverted = applied(found, contrast)
    matched = method.reference.match(replace(stack, image=inverted[:, None]))[:, 0]
    made = {
        "none": each.query.image,
        "histogram_matching": method.reference.match(stack)[:, 0],
        "deblurred": found.clear * top,
        "gains alone": applied(sharp, shrunk(sharp)),
        "deblurred, gains, not shrunk": applied(found, found.fit.contrast),
        "deblurred, gains, always both": applied(found, always_both(prior, found.fit.contrast)),
        "deblurred, gains": inverted,
        **{f"deblurred, gains, {w:g} matched": torch.lerp(inverted, matched, w) for w in (*SHARES, 1.0)},
        "scanner_inversion": method.harmonize(stack).image[:, 0],
    }
    maps = one_hot(each.tissues, len(prior.tissues))
    known = estimate(image, mask, network, prior, resolution=each.true)
    mapped = estimate(image, mask, network, prior, maps=maps)
    both = estimate(image, mask, network, prior, resolution=each.true, maps=maps)
    own = estimate(each.truth.image, mask, network, prior, resolution=nothing, maps=maps).fit.contrast
    true = Contrast.of(both.fit.contrast.theta - own.theta)
    made |= {
        "true blur and noise": applied(known, shrunk(known)),
        "true maps": applied(mapped, shrunk(mapped)),
        "true gains": applied(found, true),
        "true blur, noise and maps": applied(both, shrunk(both)),
        "all true": applied(both, true),
    }
    return made


def always_both(prior: Prior, contrast: Contrast) -> Contrast:
    """A (theta - mu) for a scanner that is taken to have gains and a shading, whatever the scan says."""
    scanners = torch.diag(prior.scanners)
    return Contrast.of(scanners @ torch.linalg.solve(scanners + prior.own_covariance, contrast.theta - prior.own))


def scores(each: Case, images: dict[str, torch.Tensor], judge: torch.nn.Module | None) -> dict[str, tuple[float, ...]]:
    """Name -> PSNR of all slices, of the 24 middle ones, Dice of the judge on those."""
    truth, middle = each.truth, each.truth.select(24, 2)
    rows: dict[str, tuple[float, ...]] = {}
    for name, image in images.items():
        dice = float("nan")
        if judge is not None:
            with torch.no_grad():
                labels = torch.cat([judge(part).argmax(1) for part in image[middle, None].split(8)])
            dice = mean_dice(truth.labels[middle], labels, classes=range(1, 4))
        every, some = (psnr(image[k, None], truth.image[k, None]) for k in (slice(None), middle))
        rows[name] = every, some, dice
    return rows


def main(words: list[str]) -> None:
    cfg, data, method = setting(words)
    try:
        judge = app.load_network(cfg, data, "segmenter")
    except CheckpointError:
        judge = None
    node = cfg.tasks.tissue
    task = app.build_task(node.module, network=method.map_network, reference=method.reference)
    fine = task.labelled(app.build_data(cfg, node).volumes(cfg.part)[: cfg.subjects])  # the method's own tissues
    volumes = data.volumes(cfg.part)[: cfg.subjects]
    table(cfg, [(volume, own.labels) for volume, own in zip(volumes, fine, strict=True)], method, judge)


def setting(words: list[str]) -> tuple[DictConfig, SliceDataModule, ScannerInversion]:
    """Config, data and method of the experiment, from the models that it has trained."""
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose(
            "config",
            overrides=["experiment=ixi_inversion", "+part=val", "+subjects=11", "+only=[]", *words],
        )
    data = app.build_data(cfg)
    reference = Reference.of(data.volumes("train"), **app.plain(cfg.reference))
    cfg.methods, cfg.evaluation.judges = ["scanner_inversion"], []
    models = app.load_models(cfg, data)
    return cfg, data, app.build_methods(cfg, models.networks, reference, 0.0)["scanner_inversion"]


def read(each: Case, method: ScannerInversion) -> tuple[float, ...]:
    """Distances from untouched scans, before and after histogram matching (1: as far as those go); how unlikely gains
    and shading are, what of the texture blur and noise leave unexplained (`unlikely`, `misfit`); Dice of the maps."""
    mask, stack = each.truth.mask, each.query.stack(torch.arange(len(each.query.image)))
    prior, top = method.prior, robust_maximum(each.query.image, mask, method.percentile)
    found = method.estimate(each.query.image / top, mask)
    matched = method.estimate(method.reference.match(stack)[:, 0], mask)
    maps = torch.where(mask, found.maps.argmax(0) + 1, 0)
    dice = mean_dice(each.tissues, maps, classes=range(1, len(found.maps) + 1))
    distances = prior.raw.distance(found.evidence), prior.matched.distance(matched.evidence)
    return *distances, prior.unlikeliness(found.fit.contrast), found.texture.misfit, dice


def table(
    cfg, volumes: list[tuple[Volume, torch.Tensor]], method: ScannerInversion, judge: torch.nn.Module | None
) -> None:
    print("| scanner | as it is | matched | unlikely | misfit | Dice of the maps |\n|---|---|---|---|---|---|")
    for domain in cfg.only or (*STEPS, *cfg.data.groups.held_out):
        rows = [read(case(cfg, *volume, domain), method) for volume in volumes]
        print_row(domain or "untouched", rows)
    for domain in cfg.only or STEPS:
        found: dict[str, list[tuple[float, ...]]] = {}
        for volume in volumes:
            each = case(cfg, *volume, domain)
            for name, row in scores(each, steps(each, method), judge).items():
                found.setdefault(name, []).append(row)
        print(f"\n### {domain or 'untouched'}\n\n| step | PSNR all | PSNR 24 | Dice |\n|---|---|---|---|")
        for name, rows in found.items():
            print_row(name, rows)


def print_row(name: str, rows: list[tuple[float, ...]]) -> None:
    columns = list(zip(*rows, strict=True))
    print(f"| {name} |", " | ".join(f"{fmean(each):.3f} ({min(each):.2f}, {max(each):.2f})" for each in columns), "|")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
