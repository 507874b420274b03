"""How an atlas subject is made: the template's tissue under a deformation, then an image of that tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

TISSUES = ("csf", "grey", "white")
MEANS = (0.20, 0.58, 0.86)  # T1 grey levels of the tissues
YOUNGEST, OLDEST = 20.0, 85.0
# Deformation: (knots' distance, standard deviation) in mm. Head shape, lobes, gyri.
WARPS = ((70.0, 4.0), (32.0, 2.2), (14.0, 1.1))
SIZE = {"F": 0.91, "M": 0.95}  # of the template, which is larger than most heads
WIDENING = 2.0, 2.6  # mm by which the borders of sulci, of ventricles move from the youngest to the oldest
SPREAD = 0.25  # of the same widening between people of one age, in units of the whole age effect


@dataclass(frozen=True)
class Person:
    age: float
    sex: str


@dataclass(frozen=True)
class AtlasSubject:
    """image: (X, Y, Z) int16; labels: (X, Y, Z) uint8, 0 background, 1 CSF, 2 grey, 3 white; affine: voxel -> mm."""

    image: np.ndarray
    labels: np.ndarray
    affine: np.ndarray


def person(seed: int, index: int) -> Person:
    """Age uniform in 20-85 years, sex at random; a function of (seed, index) alone."""
    rng = np.random.default_rng([seed, index, 0])
    return Person(age=round(float(rng.uniform(YOUNGEST, OLDEST)), 1), sex=str(rng.choice(["F", "M"])))


class Template:
    """The MNI152 T1, grey and white matter maps (skull-stripped, 1 mm), and an output grid of `resolution` mm."""

    def __init__(self, resolution: int) -> None:
        from nilearn import datasets

        fine = max(1, resolution // 2)  # mm; finer than the output, so that the images keep sharp borders
        names = (datasets.load_mni152_template, datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
        images = [load(resolution=1) for load in names]
        t1, grey, white = (_thinned(np.asarray(image.dataobj, np.float32), fine) for image in images)
        self.fine, self.resolution = fine, resolution
        self.maps = torch.from_numpy(_tissue_maps(t1, grey, white))
        coarse = functional.avg_pool3d(self.maps, 2).numpy()
        self.widening = 2 * torch.from_numpy(_widening(coarse, 2 * fine))
        self.shape = [-(-n * fine // resolution) for n in t1.shape]
        self.affine = np.array(images[0].affine, np.float64)
        self.affine[:3, 3] += (fine - 1) / 2  # the centre of the first `fine` template voxels
        self.affine[:3, :3] *= resolution

    def subject(self, seed: int, index: int) -> AtlasSubject:
        """Subject `index`: a function of (seed, index, resolution) alone."""
        rng, who = np.random.default_rng([seed, index, 1]), person(seed, index)
        maps = _sample(self.maps, self._grid(rng, who))
        t1, tissue = maps[0], maps[1:]
        inside = tissue.sum(0) > 0.5
        labels = torch.where(inside, tissue.argmax(0) + 1, 0)
        image = torch.where(inside, self._image(t1, tissue, rng, who), 0)
        level = 600 * np.exp(rng.normal(0, 0.2))  # the arbitrary unit of a T1 image
        grey = (image * level).round().clamp(1, 32767)
        image16 = torch.where(inside, grey, 0).numpy().astype(np.int16)
        return AtlasSubject(image16, labels.numpy().astype(np.uint8), self.affine)

    def _grid(self, rng: np.random.Generator, who: Person) -> Tensor:
        """Where in the fine template each output voxel looks, (3, X, Y, Z) in fine voxels."""
        step = self.resolution / self.fine
        axes = [torch.arange(n, dtype=torch.float32) * step for n in self.shape]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        centre = torch.tensor([(n - 1) / 2 for n in self.maps.shape[1:]]).view(3, 1, 1, 1)
        size = SIZE[who.sex] * np.exp(rng.normal(0, 0.02, 3))
        place = centre + (grid - centre) / torch.tensor(size, dtype=torch.float32).view(3, 1, 1, 1)
        for knots, deviation in WARPS:
            place += torch.stack([self._smooth(rng, knots) for _ in range(3)]) * (deviation / self.fine)
        aging = (who.age - YOUNGEST) / (OLDEST - YOUNGEST) - 0.3 + SPREAD * rng.normal(0, 1, 2)
        pull = _sample(self.widening, (place - 0.5) / 2)  # it is smooth: half the resolution does
        return place + float(aging[0]) * pull[:3] + float(aging[1]) * pull[3:]

    def _smooth(self, rng: np.random.Generator, knots: float) -> Tensor:
        """A smooth random field on the output grid, about standard normal, cubic between knots `knots` mm apart."""
        extent = [n * self.resolution for n in self.shape]
        coarse = rng.standard_normal([int(e // knots) + 4 for e in extent]).astype(np.float32)
        for axis, (n, e) in enumerate(zip(self.shape, extent, strict=True)):
            at = 1 + np.arange(n) * (e / n / knots)
            first = at.astype(int)
            weights = _spline_weights((at - first).astype(np.float32))
            parts = [np.take(coarse, first + k - 1, axis) for k in range(4)]
            shape = [-1 if a == axis else 1 for a in range(3)]
            coarse = sum(part * w.reshape(shape) for part, w in zip(parts, weights, strict=True))
        return torch.from_numpy(coarse / 0.5)

    def _image(self, t1: Tensor, tissue: Tensor, rng: np.random.Generator, who: Person) -> Tensor:
        """Grey levels: crisp tissue means, the template's own detail, the subject's contrast, shading and grain."""
        old = (who.age - YOUNGEST) / (OLDEST - YOUNGEST)
        means = np.array(MEANS) * (1 + rng.normal(0, 0.015, 3)) + np.array([0, 0.015, -0.015]) * old
        crisp = (tissue * torch.tensor(means, dtype=torch.float32).view(3, 1, 1, 1)).sum(0)
        image = 0.75 * crisp + 0.25 * t1
        shading = 0.02 * self._smooth(rng, 90.0)
        grain = torch.from_numpy(rng.standard_normal(self.shape, dtype=np.float32))
        tissue_texture = 0.012 * self._smooth(rng, 5.0 if self.resolution < 5 else 2.0 * self.resolution)
        return (image + tissue_texture) * torch.exp(shading) + 0.014 * grain


def _thinned(data: np.ndarray, factor: int) -> np.ndarray:
    """Means of factor^3 voxels."""
    return functional.avg_pool3d(torch.from_numpy(data)[None], factor)[0].numpy()


def _tissue_maps(t1: np.ndarray, grey: np.ndarray, white: np.ndarray) -> np.ndarray:
    """(4, X, Y, Z): T1, then CSF, grey and white probabilities, sharpened as the average of many brains is blurred."""
    brain = ndimage.binary_closing(t1 > 0, iterations=2)
    csf = np.clip(1 - grey - white, 0, 1)
    sharp = np.stack([1.15 * csf, grey, white]) ** 2.5  # thin sulci lose most by the averaging
    sharp = np.where(brain, sharp / np.maximum(sharp.sum(0), 1e-6), 0)
    return np.concatenate([t1[None], sharp]).astype(np.float32)


def _widening(maps: np.ndarray, side: int) -> np.ndarray:
    """(6, X, Y, Z) in voxels of `side` mm: where to look so that sulci (first 3) and ventricles (last 3) become wider.

    Looking up the gradient of smoothed CSF draws CSF over the tissue beside it.
    """
    brain = maps[1:].sum(0) > 0.5
    depth = ndimage.distance_transform_edt(brain) * side
    deep = 1 / (1 + np.exp(-(depth - 22.0) / 3.0))
    inner = 1 / (1 + np.exp(-(depth - 4.0)))  # the outer border of the brain stays where it is
    fields = []
    for share, width, amount in ((1 - deep, 2.0, WIDENING[0]), (deep, 4.0, WIDENING[1])):
        gradient = np.stack(np.gradient(ndimage.gaussian_filter(maps[1] * inner, width / side)))
        typical = np.percentile(np.linalg.norm(gradient, axis=0)[brain & (share > 0.5)], 95)
        strength = np.linalg.norm(gradient, axis=0) / typical
        # Saturating: strong borders move by the stated millimetres, flat regions stay.
        fields.append(gradient / typical * (share * inner * amount / side / np.maximum(1, strength)))
    return np.concatenate(fields).astype(np.float32)


def _spline_weights(t: np.ndarray) -> list[np.ndarray]:
    """The four cubic B-spline weights at fraction t between knots."""
    return [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6]


def _sample(maps: Tensor, place: Tensor) -> Tensor:
    """maps (C, ...) looked up linearly at voxel positions (3, X, Y, Z); 0 outside."""
    last = torch.tensor([n - 1 for n in maps.shape[1:]]).view(3, 1, 1, 1)
    grid = (2 * place / last - 1).permute(1, 2, 3, 0).flip(-1)
    return functional.grid_sample(maps[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=True)[0]
