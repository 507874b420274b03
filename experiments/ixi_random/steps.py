"""PSNR of one scan under one random scanner after each step of scanner inversion, and what is read of the scanner:

python experiments/ixi_random/steps.py random_inside_0 sub-IXI216 data.root=/path/to/ixi-hh
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from hydra import compose, initialize_config_dir

from harmony import app
from harmony.core import Volume
from harmony.core.measures import robust_maximum
from harmony.metrics import psnr
from harmony.scanner import Resolution, estimate


@torch.no_grad()
def steps(method, truth: Volume, query: Volume) -> dict[str, torch.Tensor]:
    """Name -> (S, H, W)."""
    mask, prior, network = truth.mask, method.prior, method.map_network
    stack = query.stack(torch.arange(len(query.image)))
    top = robust_maximum(query.image, mask, method.percentile)
    nothing = Resolution(torch.zeros(3), torch.zeros(()))
    found, sharp = (estimate(query.image / top, mask, network, prior, resolution=each) for each in (None, nothing))

    def undone(scan):
        contrast = prior.shrunk(scan.fit.contrast, method.any_probability).contrast
        return scan.restored(scan.gain(contrast, prior.expected, mask), mask)

    print(method.harmonize(stack).report)
    return {
        "none": query.image,
        "deblurred": found.clear * top,
        "gains and shading alone": undone(sharp),
        "deblurred, gains and shading": undone(found),
        "histogram_matching": method.reference.match(stack)[:, 0],
        "histogram_matching of all": method.reference.match(replace(stack, image=undone(found)[:, None]))[:, 0],
        "scanner_inversion": method.harmonize(stack).image[:, 0],
    }


def main(domain: str, subject: str, *words: str) -> None:
    said = ["method=scanner_inversion", "method_name=scanner_inversion", "input=x", "output=x"]
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=ixi_random", *words])
        installed = compose("harmonize", overrides=[*said, "method.shading=reference"])
    volumes = app.build_data(cfg, cfg.tasks.segmenter).volumes("test")
    truth = next(volume for volume in volumes if volume.scan.subject == subject)
    made = steps(app.load_applied(installed).method, truth, app.scanner(cfg, domain)(truth))
    print("| step | PSNR dB |\n|---|---|")
    for name, image in made.items():
        print(f"| {name} | {psnr(image[:, None], truth.image[:, None]):.1f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
