"""Every method that a model serves, on the real scanners at hand: a shading with its truth, another vendor, patients.

python experiments/real_scanners/measure.py real=/path/to/real open_ms=/path/to/open-ms

methods=[none,scanner_inversion] says which; output= where results.csv and scans.png go (this folder); all other words
are those of `harmonize` (model=scanner.harmony). `make records` then makes the tables. Everything is measured in the
files' own voxels. Tissues are clusters of the unharmonized intensities after N4 (`scanner.intensity_clusters`), the
same for every method; white matter is eroded by one voxel.

xa30_raw (one acquisition as received; xa30_prescan: with the vendor's prescan normalization), brain, one factor:
  psnr, r            harmonized, against the normalized scan as it is
  psnr_both          against the normalized scan, harmonized as well
every head:
  grey_white         median of grey over median of white matter; heads: its standard deviation over them
  uneven             deviation of the white matter's median from region to region (3 x 3 x 3 of the brain's box)
  uih_even           sub-uih after N4: an even scan, whose white matter should stay even
open-ms, against the white matter around the lesions:
  lesion_contrast    (lesion - white) / white
  lesion_cnr         |lesion - white| / deviation of the white
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from matplotlib import pyplot as plt
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from scipy import ndimage

from harmony import app
from harmony.core import Row, Scan, write_rows
from harmony.core.models import resolve_model
from harmony.core.packed_model import read_manifest
from harmony.data import Preprocess, n4, read_labels, read_nifti, write_nifti
from harmony.delivery import Applied
from harmony.metrics import lesion_contrast, white_surroundings
from harmony.scanner import intensity_clusters

HERE = Path(__file__).parent
SLOW = ("blindharmony", "blindharmony_image", "blindharmony_latent")  # a minute a scan; asked for by name
GREY, WHITE = 2, 3
REGIONS, FEWEST = 3, 200  # along each axis of the brain's box; voxels of white matter in one
RING = 6.0  # mm around a lesion
TWICE = ("xa30_raw", "uih_even")  # heads that are there already


@dataclass(frozen=True)
class Head:
    """A real scan: its brain and tissues (X, Y, Z) on its own grid, and its lesions where it has any."""

    name: str
    scan: Scan
    tissues: np.ndarray
    lesions: np.ndarray | None = None

    @property
    def brain(self) -> np.ndarray:
        return self.tissues > 0


def main(words: list[str]) -> None:
    own = dict(word.split("=", 1) for word in words if word.split("=")[0] in ("real", "open_ms", "methods", "output"))
    rest = [word for word in words if word.split("=")[0] not in own]
    output = Path(own.get("output", HERE))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        first = applied("none", rest)
        heads = found_heads(Path(own["real"]), Path(own["open_ms"]), first.preprocess, Path(folder))
        rows, pictures = [], {}
        for method in own["methods"].strip("[]").split(",") if "methods" in own else served(rest):
            images, seconds = harmonized(applied(method, rest), heads)
            pictures[method] = images
            rows += measured(method, heads, images, seconds)
            print(
                method, " ".join(f"{row.domain}/{row.metric}={row.value:.3f}" for row in rows if row.method == method)
            )
        picture(output / "scans.png", heads, pictures)
    rows += over_heads(rows)
    write_rows(output / "results.csv", [replace(row, value=float(f"{row.value:.5g}")) for row in rows])


def config(method: str, words: list[str]):
    said = [f"method={method}", f"method_name={method}", "input=x", "output=x", *words]
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        return compose("harmonize", overrides=said)


def applied(method: str, words: list[str]) -> Applied:
    return app.load_applied(config(method, words))


def served(words: list[str]) -> list[str]:
    """What the packed model serves, but for the slow ones."""
    cfg = config("none", words)
    package = Path(app.__file__).parents[1] / "models"
    path = Path(cfg.model) if cfg.model else next(package.glob("*.harmony"))
    resolve_model(cfg.model, runs=Path(cfg.runs).expanduser(), cache=Path(cfg.cache).expanduser())
    methods = [name for name in read_manifest(path).methods if name not in SLOW]
    return ["none", *(name for name in methods if name != "none")]


def found_heads(real: Path, open_ms: Path, prepare: Preprocess, folder: Path) -> list[Head]:
    def of_real(name: str, subject: str, file: str) -> Scan:
        mask = real / "derivatives" / "brain" / subject / "anat" / f"{subject}_desc-brain_mask.nii.gz"
        return Scan(real / subject / "anat" / file, name, mask=mask)

    prescan, raw = (of_real(name, "sub-xa30", f"sub-xa30_acq-{name}_T1w.nii.gz") for name in ("prescan", "raw"))
    uih = of_real("uih", "sub-uih", "sub-uih_T1w.nii.gz")
    tissues = {scan.subject: tissues_of(scan, prepare) for scan in (prescan, uih)}
    even = replace(uih, path=evened(uih, folder / "uih_even.nii.gz"), subject="uih_even")
    heads = [
        Head("xa30_prescan", prescan, tissues["prescan"]),
        Head("xa30_raw", raw, tissues["prescan"]),  # one acquisition: one anatomy
        Head("uih", uih, tissues["uih"]),
        Head("uih_even", even, tissues["uih"]),
    ]
    for path in sorted(open_ms.glob("sub-*/anat/*_T1w.nii.gz")):
        subject = path.name.split("_")[0]
        marked = open_ms / "derivatives" / "lesions" / subject / "anat" / f"{subject}_label-lesion_mask.nii.gz"
        scan = Scan(path, subject)
        lesions = read_labels(marked, read_nifti(path, subject=subject), subject) > 0
        heads.append(Head(subject.removeprefix("sub-"), scan, tissues_of(scan, prepare), lesions))
    return heads


def tissues_of(scan: Scan, prepare: Preprocess) -> np.ndarray:
    """(X, Y, Z) 1 CSF, 2 grey, 3 white matter on the scan's own grid, 0 outside the brain."""
    volume = prepare(scan)
    even = n4(volume.image.numpy(), volume.mask.numpy(), np.linalg.norm(volume.affine[:3, :3], axis=0))
    labels = intensity_clusters(torch.from_numpy(even), volume.mask, 3).float()
    native = read_nifti(scan.path, subject=scan.subject)
    back = SpatialResample(mode="nearest", padding_mode="zeros", dtype=torch.float32)
    meta = MetaTensor(labels[None], affine=torch.from_numpy(volume.affine))
    shape = native.data.shape
    return back(meta, dst_affine=torch.from_numpy(native.affine), spatial_size=shape)[0].round().numpy().astype(np.int8)


def evened(scan: Scan, path: Path) -> Path:
    native = read_nifti(scan.path, subject=scan.subject)
    mask = read_labels(scan.mask, native, scan.subject) > 0
    write_nifti(path, n4(native.data, mask, np.linalg.norm(native.affine[:3, :3], axis=0)), native)
    return path


def harmonized(applied: Applied, heads: list[Head]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Head -> what would be written, and the seconds that it took."""
    images, seconds = {}, {}
    for head in heads:
        begin = time.perf_counter()
        native = read_nifti(head.scan.path, subject=head.scan.subject)
        volume = applied.preprocess(head.scan)
        made = applied.method.harmonize(volume.stack(volume.select(None, 1)))
        gain = None if made.gain is None else made.gain[:, 0]
        images[head.name] = applied.preprocess.restore(volume, made.image[:, 0], native, gain, made.curve)
        seconds[head.name] = time.perf_counter() - begin
    return images, seconds


def measured(method: str, heads: list[Head], images: dict[str, np.ndarray], seconds: dict[str, float]) -> list[Row]:
    rows: list[Row] = []

    def say(head: str, **values: float) -> None:
        rows.extend(Row(method, head, head, metric, float(value)) for metric, value in values.items())

    by_name = {head.name: head for head in heads}
    brain = by_name["xa30_prescan"].brain
    as_it_is = read_nifti(by_name["xa30_prescan"].scan.path, subject="prescan").data
    alone, both = (likeness(images["xa30_raw"], truth, brain) for truth in (as_it_is, images["xa30_prescan"]))
    say("xa30_raw", psnr=alone[0], r=alone[1], psnr_both=both[0])
    for head in heads:
        image = images[head.name]
        white = ndimage.binary_erosion(head.tissues == WHITE)
        grey = np.median(image[head.tissues == GREY]) / np.median(image[white])
        say(head.name, grey_white=grey, uneven=unevenness(image, white), seconds=seconds[head.name])
        if head.lesions is not None:
            contrast, cnr = of_lesions(head, image)
            say(head.name, lesion_contrast=contrast, lesion_cnr=cnr)
    return rows


def likeness(image: np.ndarray, truth: np.ndarray, brain: np.ndarray) -> tuple[float, float]:
    """PSNR in dB of the robust maximum, after one factor; correlation."""
    a, b = image[brain].astype(np.float64), truth[brain].astype(np.float64)
    factor = (a * b).sum() / (a * a).sum()
    error = np.mean((factor * a - b) ** 2)
    return float(10 * np.log10(np.percentile(b, 99.5) ** 2 / error)), float(np.corrcoef(a, b)[0, 1])


def unevenness(image: np.ndarray, white: np.ndarray) -> float:
    """Standard deviation over regions of the brain's box of the median white matter, relative to their mean."""
    places = np.argwhere(white)
    low, high = places.min(0), places.max(0) + 1
    region = np.ravel_multi_index(((places - low) * REGIONS // (high - low)).T, (REGIONS,) * 3)
    values = image[white]
    medians = [np.median(values[region == k]) for k in np.unique(region) if (region == k).sum() >= FEWEST]
    return float(np.std(medians) / np.mean(medians))


def of_lesions(head: Head, image: np.ndarray) -> tuple[float, float]:
    """Contrast and contrast-to-noise ratio against the same surroundings for every method."""
    native = read_nifti(head.scan.path, subject=head.scan.subject)
    side = np.linalg.norm(native.affine[:3, :3], axis=0)
    order = (2, 0, 1)
    turned = [np.asarray(array).transpose(order) for array in (native.data, head.lesions, head.brain)]
    around = white_surroundings(*turned, spacing=side[list(order)], ring_mm=RING).transpose(np.argsort(order))
    near = image[around]
    difference = image[head.lesions].mean() - near.mean()
    return lesion_contrast(image, head.lesions, around), float(abs(difference) / near.std())


def over_heads(rows: list[Row]) -> list[Row]:
    """How much the heads of different people and scanners differ in their contrast."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.metric == "grey_white" and row.domain not in TWICE:
            found.setdefault(row.method, []).append(row.value)
    return [Row(method, "heads", "heads", "grey_white_sd", np.std(each, ddof=1)) for method, each in found.items()]


def picture(path: Path, heads: list[Head], images: dict[str, dict[str, np.ndarray]]) -> None:
    """The middle axial slice of every head (rows) by every method (columns), each from 0 to its 99.5th percentile."""
    figure, axes = plt.subplots(len(heads), len(images), figsize=(1.4 * len(images), 1.6 * len(heads)), squeeze=False)
    for row, head in zip(axes, heads, strict=True):
        native = read_nifti(head.scan.path, subject=head.scan.subject)
        places = np.argwhere(head.brain)
        axis = int(np.abs(native.affine[2, :3]).argmax())
        middle = int(places[:, axis].mean())
        for place, (method, made) in zip(row, images.items(), strict=True):
            image = np.where(head.brain, made[head.name], 0)
            top = np.percentile(image[head.brain], 99.5)
            place.imshow(np.rot90(image.take(middle, axis)), cmap="gray", vmin=0, vmax=top)
            place.set_axis_off()
            if row is axes[0]:
                place.set_title(method.replace("_", "\n"), fontsize=7)
        row[0].text(-4, 4, head.name, fontsize=6, rotation=90, va="top", ha="right")
    figure.tight_layout(pad=0.2)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main(sys.argv[1:])
