"""Three aims of scanner inversion that need no other method: the edge under a curve, an atrophy, and what a scan costs.

python experiments/real_scanners/aims.py real=/path/to/real open_ms=/path/to/open-ms ixi=/path/to/ixi-hh

The installed model. Rows: results_aims.csv.

edge, of the 1 mm heads, domain: the curve that bends them (x in units of the largest value), against the same scan not
bent, both through the method, in units of the reference:
  edge, inside      root mean square difference, % of the robust maximum, of the outermost voxel; of the rest
atrophy, of eleven validation people. Patches of grey matter next to fluid lose 40 % of their intensity; domain: the
scan as it is (`even`), or under a coil's shading of its own (`coil`), through the method:
  lost              % of the grey matter that is gone, by the network's own maps of the untouched scans
  kept              the same change by the maps of the results, as a share of `lost`
cost, one 1 mm head with its mask, the command `harmony harmonize` in a process of its own:
  seconds, gigabytes    processor time with the start; largest resident memory
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import measure
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from scipy import ndimage
from torch import Tensor

from harmony import app
from harmony.core import Row, Scan, Volume, write_rows
from harmony.core.measures import robust_maximum
from harmony.data import read_labels, read_nifti, write_nifti
from harmony.data.simulation.coils import Coils
from harmony.delivery import Applied
from harmony.scanner import brain_box, network_input

HERE = Path(__file__).parent
CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gamma 0.7": lambda x: x**0.7,
    "log": lambda x: np.log1p(5 * x) / np.log(6),
    "exp": lambda x: np.expm1(1.5 * x) / np.expm1(1.5),
}
DARKER, PATCH = 0.6, 1.5  # factor on the grey matter that is gone; voxels, sigma of the noise whose sign draws patches
COIL = 1.6  # of the shading's logarithm, from its darkest to its brightest place


def edge(applied: dict[str, Applied], scans: list[Scan]) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for scan in scans:
            native = read_nifti(scan.path, subject=scan.subject)
            brain = native.data > 0 if scan.mask is None else read_labels(scan.mask, native, scan.subject) > 0
            top = native.data[brain].max()
            inner = ndimage.binary_erosion(brain)
            for name, curve in CURVES.items():
                bent = np.where(brain, top * curve((native.data / top).clip(0)), 0).astype(np.float32)
                path = Path(folder) / "bent.nii.gz"
                write_nifti(path, bent, native)
                plain = Path(folder) / "plain.nii.gz"
                write_nifti(plain, np.where(brain, native.data, 0).astype(np.float32), native)
                for method, by in applied.items():
                    a, b = (written(by, Scan(at, scan.subject)) for at in (plain, path))
                    for metric, where in (("edge", brain & ~inner), ("inside", inner)):
                        rms = 100 * float(np.sqrt(np.mean((a - b)[where] ** 2)))
                        yield Row(method, name, scan.subject, metric, rms)


def written(applied: Applied, scan: Scan) -> np.ndarray:
    """(X, Y, Z) on the scan's own grid, in the unit of the reference."""
    native, volume = read_nifti(scan.path, subject=scan.subject), applied.preprocess(scan)
    made = applied.method.harmonize(volume.stack(volume.select(None, 1)))
    gain = None if made.gain is None else made.gain[:, 0]
    data = applied.preprocess.restore(volume, made.image[:, 0], native, gain, made.curve)
    return applied.preprocess.relative(volume, data, native)


@torch.no_grad()
def atrophy(applied: Applied, people: list[Volume]) -> Iterator[Row]:
    method = applied.method
    network = method.map_network
    for seed, volume in enumerate(people):
        mask, labels = volume.mask, volume.labels
        generator = torch.Generator().manual_seed(seed)
        grey, fluid = labels == measure.GREY, (labels == 1) | ~mask
        noise = ndimage.gaussian_filter(torch.randn(mask.shape, generator=generator).numpy(), PATCH)
        gone = grey & torch.from_numpy(ndimage.binary_dilation(fluid.numpy()) & (noise > 0))
        thinner = torch.where(gone, DARKER * volume.image, volume.image)
        shading = replace(Coils.draw(2.3, generator), amount=COIL).log_over(brain_box(mask)).exp()
        lost = 1 - grey_of(network, thinner, mask) / grey_of(network, volume.image, mask)
        subject = volume.scan.subject
        yield Row("scanner_inversion", "even", subject, "lost", 100 * lost)
        for domain, factor in (("even", torch.ones(())), ("coil", shading)):
            made = [even(method, volume, shaded(image * factor, mask)) for image in (volume.image, thinner)]
            before, after = (grey_of(network, image, mask) for image in made)
            yield Row("scanner_inversion", domain, subject, "kept", (1 - after / before) / lost)


def shaded(image: Tensor, mask: Tensor) -> Tensor:
    return (image / robust_maximum(image, mask, 99.5)).clamp(0, 1)


def even(method, volume: Volume, image: Tensor) -> Tensor:
    stack = replace(volume, image=image).stack(torch.arange(len(image)))
    return method.harmonize(stack).image[:, 0]


def grey_of(network, image: Tensor, mask: Tensor) -> float:
    """Voxels, of probability."""
    return float(network(network_input(image, image, mask)[None])[0].softmax(0)[1:-1].sum(0)[mask].sum())


def people(root: str) -> list[Volume]:
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=ixi_inversion", f"data.root={root}"])
    return app.build_data(cfg, cfg.tasks.segmenter).volumes("val")


def cost(scan: Scan) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        words = ["harmonize", str(scan.path), folder, f"--mask={scan.mask}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "harmony", *words], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    yield Row("scanner_inversion", "1 mm", scan.subject, "seconds", seconds)
    yield Row("scanner_inversion", "1 mm", scan.subject, "gigabytes", after.ru_maxrss / 2**20)


def main(words: list[str]) -> None:
    own = dict(word.split("=", 1) for word in words)
    torch.set_num_threads(1)
    real, patients = Path(own["real"]), Path(own["open_ms"])
    mask = real / "derivatives" / "brain" / "sub-uih" / "anat" / "sub-uih_desc-brain_mask.nii.gz"
    uih = Scan(real / "sub-uih" / "anat" / "sub-uih_T1w.nii.gz", "uih", mask=mask)
    others = [Scan(path, path.name.split("_")[0]) for path in sorted(patients.glob("sub-*/anat/*_T1w.nii.gz"))]
    rows = list(cost(uih))
    curves = {name: measure.applied(name, []) for name in ("histogram_matching", "nyul")}
    rows += edge(curves, [uih, *others])
    rows += atrophy(measure.applied("scanner_inversion", []), people(own["ixi"]))
    write_rows(HERE / "results_aims.csv", [replace(row, value=float(f"{row.value:.5g}")) for row in rows])


if __name__ == "__main__":
    main(sys.argv[1:])
