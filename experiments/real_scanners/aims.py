"""Aims of scanner inversion that need no other method: an edge under a curve, an atrophy, an even scan, what it costs.

python experiments/real_scanners/aims.py real=/path/to/real open_ms=/path/to/open-ms ixi=/path/to/ixi-hh

The installed model. Rows: results_aims.csv.

edge, of the 1 mm heads, domain: the curve that bends them (x in units of the largest value), against the same scan not
bent, both through the method, in units of the reference:
  edge, inside      root mean square difference, % of the robust maximum, of the outermost voxel; of the rest
  edge_below        of the outermost voxels up to the robust maximum: of what is above it, no histogram knows the curve
atrophy, of eleven validation people. Patches of grey matter next to fluid lose 40 % of their intensity, their edges as
sharp as a voxel is (`EDGE`); by the network's own maps, of both images through the method; domain: `even`, the scan as
it is; `coil`, under a coil's shading of its own; `known scanner`, with field and gains of the scan before the atrophy;
`sharper than a scan`, patches of whole voxels:
  lost              % of the grey matter that is gone, in the scans
  kept              the same change in the results, as a share of `lost`
even, of the same people, white matter by their labels, eroded by a voxel; domain: `even`, the scan divided by a smooth
mean of its labelled white matter; `as it is`, with the reference scanner's own shading:
  before, after     how uneven white matter is (`measure.unevenness`)
cost, one 1 mm head with its mask, the command `harmony harmonize` in a process of its own:
  seconds, gigabytes    processor time with the start; largest resident memory
"""

from __future__ import annotations

import itertools
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
from harmony.methods import ScannerInversion
from harmony.scanner import MapNetwork, brain_box, even_scan, network_input
from harmony.scanner.field import smooth_mean

HERE, SI = Path(__file__).parent, "scanner_inversion"
CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gamma 0.7": lambda x: x**0.7,
    "log": lambda x: np.log1p(5 * x) / np.log(6),
    "exp": lambda x: np.expm1(1.5 * x) / np.expm1(1.5),
}
DARKER, PATCH = 0.6, 1.5  # factor on the grey matter that is gone; voxels, sigma of the noise whose sign draws patches
EDGE = 0.5  # voxels, sigma
SMOOTH, FLOOR = 10.0, 1e-3  # mm, sigma of the mean of white matter; least intensity of which a logarithm is taken
COIL = 1.6  # of the shading's logarithm, from its darkest to its brightest place


def edge(applied: dict[str, Applied], scans: list[Scan]) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        plain, bent = Path(folder) / "plain.nii.gz", Path(folder) / "bent.nii.gz"
        for scan in scans:
            native = read_nifti(scan.path, subject=scan.subject)
            brain = native.data > 0 if scan.mask is None else read_labels(scan.mask, native, scan.subject) > 0
            top = float(native.data[brain].max())
            inner = ndimage.binary_erosion(brain)
            write_nifti(plain, np.where(brain, native.data, 0).astype(np.float32), native)
            for (name, curve), (method, by) in itertools.product(CURVES.items(), applied.items()):
                write_nifti(
                    bent, np.where(brain, top * curve((native.data / top).clip(0)), 0).astype(np.float32), native
                )
                before, after = (by.preprocess(Scan(path, scan.subject)) for path in (plain, bent))
                difference = written(by, after, bent) - written(by, before, plain)
                below = brain & ~inner & (native.data <= before.scale)
                for metric, where in (("edge", brain & ~inner), ("inside", inner), ("edge_below", below)):
                    rms = 100 * float(np.sqrt(np.mean(difference[where] ** 2)))
                    yield Row(method, name, scan.subject, metric, rms)


def written(applied: Applied, volume: Volume, path: Path) -> np.ndarray:
    """(X, Y, Z) the file at `path` with what was read of the volume undone, in the unit of the reference."""
    native = read_nifti(path, subject=volume.scan.subject)
    made = applied.method.harmonize(volume.stack(volume.select(None, 1)))
    gain = None if made.gain is None else made.gain[:, 0]
    data = applied.preprocess.restore(volume, made.image[:, 0], native, gain, made.curve)
    return applied.preprocess.relative(volume, data, native)


@torch.no_grad()
def atrophy(applied: Applied, people: list[Volume]) -> Iterator[Row]:
    method = applied.method
    assert isinstance(method, ScannerInversion)
    network = method.map_network
    for seed, volume in enumerate(people):
        mask, generator = volume.mask, torch.Generator().manual_seed(seed)
        gone = patches(volume, generator)
        soft = torch.from_numpy(ndimage.gaussian_filter(gone.numpy(), EDGE))
        shading = replace(Coils.draw(2.3, generator), amount=COIL).log_over(brain_box(mask)).exp()
        one = torch.ones(())
        for domain, patch, factor in (("even", soft, one), ("coil", soft, shading), ("sharper than a scan", gone, one)):
            scans = [
                shaded(image * factor, mask) for image in (volume.image, volume.image * (1 - (1 - DARKER) * patch))
            ]
            if domain != "coil":  # in a scan with a coil's shading the maps are none to measure by
                lost = change(network, scans, mask)
            kept = change(network, [even(method, volume, scan) for scan in scans], mask) / lost
            yield from (Row(SI, domain, volume.scan.subject, *said) for said in (("lost", 100 * lost), ("kept", kept)))
            if domain == "even":
                kept = change(network, known_scanner(method, scans, volume), mask) / lost
                yield Row(SI, "known scanner", volume.scan.subject, "kept", kept)


def patches(volume: Volume, generator: torch.Generator) -> Tensor:
    """(S, H, W) 1 where grey matter is gone."""
    assert volume.labels is not None
    fluid = (volume.labels == 1) | ~volume.mask
    noise = ndimage.gaussian_filter(torch.randn(volume.mask.shape, generator=generator).numpy(), PATCH)
    beside = torch.from_numpy(ndimage.binary_dilation(fluid.numpy()) & (noise > 0))
    return ((volume.labels == measure.GREY) & beside).float()


@torch.no_grad()
def evenness(applied: Applied, people: list[Volume]) -> Iterator[Row]:
    method = applied.method
    assert isinstance(method, ScannerInversion)
    for volume in people:
        assert volume.labels is not None
        white = ndimage.binary_erosion((volume.labels == measure.WHITE).numpy())
        side = volume.stack(torch.arange(2)).side
        field = smooth_mean(volume.image.clamp(min=FLOOR).log(), torch.from_numpy(white).float(), side, SMOOTH)
        flat = shaded(torch.where(volume.mask, volume.image / field.exp(), 0), volume.mask)
        for domain, image in (("even", flat), ("as it is", volume.image)):
            for metric, found in (("before", image), ("after", even(method, volume, image))):
                yield Row(SI, domain, volume.scan.subject, metric, measure.unevenness(found.numpy(), white))


def known_scanner(method: ScannerInversion, scans: list[Tensor], volume: Volume) -> list[Tensor]:
    """Both even by the field and the gains of the first, each by its own tissue maps; neither deblurred."""
    mask, prior, side = volume.mask, method.prior, volume.stack(torch.arange(2)).side
    before, after = (even_scan(scan, scan, mask, method.map_network, prior.expected, side) for scan in scans)
    gains, after = prior.even_gains(before.log_gains)[0], replace(after, field=before.field)
    each = zip((before, after), scans, strict=True)
    return [torch.where(mask, scan.gain(gains, prior.expected, mask) * image, 0).clamp(0, 1) for scan, image in each]


def change(network: MapNetwork, images: list[Tensor], mask: Tensor) -> float:
    """Share of the first image's grey matter that the second lacks."""
    before, after = (grey_of(network, image, mask) for image in images)
    return 1 - after / before


def shaded(image: Tensor, mask: Tensor) -> Tensor:
    return (image / robust_maximum(image, mask, 99.5)).clamp(0, 1)


def even(method: ScannerInversion, volume: Volume, image: Tensor) -> Tensor:
    stack = replace(volume, image=image).stack(torch.arange(len(image)))
    return method.harmonize(stack).image[:, 0]


def grey_of(network: MapNetwork, image: Tensor, mask: Tensor) -> float:
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
    yield Row(SI, "1 mm", scan.subject, "seconds", seconds)
    yield Row(SI, "1 mm", scan.subject, "gigabytes", after.ru_maxrss / 2**20)


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
    inversion, volumes = measure.applied(SI, []), people(own["ixi"])
    rows += [*evenness(inversion, volumes), *atrophy(inversion, volumes)]
    write_rows(HERE / "results_aims.csv", [replace(row, value=float(f"{row.value:.5g}")) for row in rows])


if __name__ == "__main__":
    main(sys.argv[1:])
