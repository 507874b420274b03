"""Which part of an even result spreads grey over white, makes white matter uneven, takes contrast of lesions:

python experiments/real_scanners/parts.py real=/path/to/real open_ms=/path/to/open-ms

The installed model's `scanner_inversion`, one part of it changed at a time, on the heads of `measure.py` and by its
measures; `grey_white_maps` is grey over white by the network's own maps of the result (`cohort.measures`), which are of
the model's grid, and not of the scan before. Rows: results_parts.csv, `method` is the variant.

  as it is          scanner_inversion
  not deblurred     the scan itself in place of the deblurred one
  no field          gains of the tissues alone
  field alone       no gain of a tissue is undone
  whole gains       the gains as read, none taken for the subject's own
  cluster maps      tissues of `measure.py`, lesions as white matter, in place of the network's maps: its own opinion
  known lesions     the network's maps, but lesions, as they are marked, are white matter
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import measure
import numpy as np
import torch
from torch import Tensor

from harmony.cohort.measures import measure as measured_by_maps
from harmony.core import Harmonized, Row, Stack, Volume, write_rows
from harmony.core.measures import DARKEST, robust_maximum
from harmony.data import read_nifti
from harmony.delivery import Applied
from harmony.methods import ScannerInversion
from harmony.methods.base import Method
from harmony.scanner import BRIGHTEST, MapNetwork, deblur, even_scan, texture
from harmony.scanner.tissue_maps import one_hot

HERE = Path(__file__).parent
AS_IT_IS = "as it is"
VARIANTS = (AS_IT_IS, "not deblurred", "no field", "field alone", "whole gains", "cluster maps", "known lesions")
SURE = 10.0  # a logit


@dataclass
class Variant(Method):
    """The even result (`ScannerInversion`), with one part of it changed. tissues, lesions: (S, H, W) of the scan."""

    whole: ScannerInversion
    name: str
    tissues: Tensor
    lesions: Tensor

    @torch.no_grad()
    def harmonize(self, stack: Stack) -> Harmonized:
        if self.name == AS_IT_IS:
            return self.whole.harmonize(stack)
        prior, mask = self.whole.prior, stack.mask[:, 0]
        top = max(robust_maximum(stack.image[:, 0], mask, self.whole.percentile), DARKEST)
        image = stack.image[:, 0] / top
        read = prior.texture.fit(texture(image, mask)).without(stack.resampled)
        resolution = prior.texture.resolution(read, prior.spectrum)
        clear = deblur(image, mask, resolution, prior.spectrum).clamp(0, BRIGHTEST)
        clear = image if self.name == "not deblurred" else clear
        scan = even_scan(clear, image, mask, self.network(), prior.expected, stack.side)
        gains = prior.even_gains(scan.log_gains)[0]
        if self.name == "whole gains":
            gains = scan.log_gains - prior.even
        if self.name == "field alone":
            gains = torch.zeros_like(gains)
        gain = scan.gain(gains, prior.expected, mask)
        if self.name == "no field":
            gain = replace(scan, field=torch.zeros_like(scan.field)).gain(gains, flat(prior.expected), mask)
        return Harmonized(torch.where(mask, gain * clear, 0)[:, None], gain=(gain / top)[:, None])

    def network(self) -> MapNetwork:
        given = self.whole.map_network
        if self.name == "cluster maps":
            return lambda volume: self.with_deep_grey(given(volume))
        if self.name == "known lesions":
            return lambda volume: torch.where(self.lesions, self.white(given(volume)), given(volume))
        return given

    def white(self, logits: Tensor) -> Tensor:
        sure = torch.zeros_like(logits)
        sure[:, -1] = SURE
        return sure

    def with_deep_grey(self, logits: Tensor) -> Tensor:
        """(1, K, S, H, W) of clusters; which grey matter is deep grey matter is left to the network."""
        csf, white = self.tissues == 1, (self.tissues == measure.WHITE) | self.lesions
        grey = logits[:, 1:-1].argmax(1) + 2
        labels = torch.where(csf, 1, torch.where(white, logits.shape[1], grey[0]))
        return SURE * one_hot(torch.where(self.tissues > 0, labels, 0), logits.shape[1])[None]


def flat(expected):
    """The same tissues without the reference's own shading."""
    terms = torch.zeros_like(expected.coefficients)
    terms[:, 0] = expected.coefficients[:, 0]
    return replace(expected, coefficients=terms)


def on_the_models_grid(volume: Volume, native_labels: np.ndarray, head: measure.Head) -> Tensor:
    """(S, H, W) of labels (X, Y, Z) of the scan's own grid, the nearest."""
    inverse = np.linalg.inv(read_nifti(head.scan.path, subject=head.name).affine) @ volume.affine
    places = np.moveaxis(np.indices(volume.image.shape), 0, -1) @ inverse[:3, :3].T + inverse[:3, 3]
    index = np.moveaxis(places.round().astype(int), -1, 0)
    inside = np.all([(at >= 0) & (at < size) for at, size in zip(index, native_labels.shape, strict=True)], axis=0)
    at = tuple(np.where(inside, axis, 0) for axis in index)
    return torch.from_numpy(np.where(inside, native_labels[at], 0).astype(native_labels.dtype))


def variants(applied: Applied, head: measure.Head) -> Mapping[str, tuple[np.ndarray, float]]:
    """Name -> the scan as it would be written, and grey over white by the network's maps of the result."""
    whole = applied.method
    assert isinstance(whole, ScannerInversion)
    volume = applied.preprocess(head.scan)
    chosen = volume.select(None, 1)
    stack, native = volume.stack(chosen), read_nifti(head.scan.path, subject=head.name)
    lesions = np.zeros(head.tissues.shape, bool) if head.lesions is None else head.lesions
    tissues = on_the_models_grid(volume, head.tissues, head)[chosen]
    marked = on_the_models_grid(volume, lesions, head)[chosen]
    made = {}
    for name in VARIANTS:
        result = Variant(whole, name, tissues, marked).harmonize(stack)
        gain = None if result.gain is None else result.gain[:, 0]
        image = torch.zeros_like(volume.image)
        image[chosen] = result.image[:, 0]
        maps = measured_by_maps(replace(volume, image=image), whole.map_network)
        written = applied.preprocess.restore(volume, result.image[:, 0], native, gain, result.curve)
        made[name] = written, maps.values["contrast_gm_wm"]
    return made


def main(words: list[str]) -> None:
    own = dict(word.split("=", 1) for word in words)
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        applied = measure.applied("scanner_inversion", [])
        heads = measure.found_heads(Path(own["real"]), Path(own["open_ms"]), applied.preprocess, Path(folder))
        made = {head.name: variants(applied, head) for head in heads}
        for name in VARIANTS:
            images = {head: values[name][0] for head, values in made.items()}
            own_rows = measure.measured(name, heads, images, dict.fromkeys(images, 0.0))
            own_rows = [row for row in own_rows if row.metric != "seconds"]
            maps = {head: values[name][1] for head, values in made.items()}
            own_rows += [Row(name, head, head, "grey_white_maps", value) for head, value in maps.items()]
            alone = [value for head, value in maps.items() if head not in measure.TWICE]
            own_rows.append(Row(name, "heads", "heads", "grey_white_maps_sd", float(np.std(alone, ddof=1))))
            rows += own_rows + measure.over_heads(own_rows)
    write_rows(HERE / "results_parts.csv", [replace(row, value=float(f"{row.value:.5g}")) for row in rows])


if __name__ == "__main__":
    main(sys.argv[1:])
