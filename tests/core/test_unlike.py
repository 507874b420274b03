"""What is not like a T1w brain is said, and a good scan is not accused: by laws on a phantom of three tissues."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from harmony.core import Scan, Stack, Volume
from harmony.core.reference import Reference
from harmony.core.unlike import THIN, UNLIKE, likeness, too_young, unlike

SHAPE = (48, 56, 64)  # slices, rows, columns of 3 mm
LEVELS = np.array([0.0, 0.25, 0.6, 0.9])  # CSF, grey, white


def tissues(seed: int) -> np.ndarray:
    """Folded white matter in grey, ventricles, a film of fluid: the same places for everybody, but for small folds."""
    rng = np.random.default_rng(seed)
    centre = np.array(SHAPE) / 2
    place = np.moveaxis(np.indices(SHAPE), 0, -1) - centre
    radius = np.linalg.norm(place / (centre - 3), axis=-1)
    folds = 0.15 * np.sin(place[..., 1] / 3) * np.cos(place[..., 2] / 3) * np.sin(place[..., 0] / 4)
    own = 0.3 * ndimage.gaussian_filter(rng.standard_normal(SHAPE), 2)
    depth = radius + folds + own
    ventricle = np.linalg.norm(place / np.array([6, 10, 5]), axis=-1) < 1
    labels = np.select([ventricle, depth < 0.62, depth < 0.9], [1, 3, 2], 1)
    return np.where(radius < 1, labels, 0)


def volume(seed: int, levels: np.ndarray = LEVELS, noise: float = 0.02) -> Volume:
    labels = tissues(seed)
    grain = noise * np.random.default_rng(seed + 100).standard_normal(SHAPE)
    image = ndimage.gaussian_filter(levels[labels], 0.6) + grain
    mask = torch.from_numpy(labels > 0)
    image = torch.where(mask, torch.from_numpy(image).float().clamp(1e-3, 1), 0)
    return Volume(Scan(f"{seed}.nii", f"s{seed}"), image, mask, None, np.diag([3.0, 3, 3, 1]), 1.0)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.of([volume(k) for k in range(4)], positions=24, quantiles=64)


def stack(of: Volume) -> Stack:
    return of.stack(torch.arange(len(of.image)))


def changed(of: Volume, image: torch.Tensor) -> Stack:
    return stack(replace(of, image=torch.where(of.mask, image.float().clamp(0, 1), 0)))


GOOD = {
    "as it is": lambda x: x,
    "a curve": lambda x: x**2,
    "another": lambda x: torch.log1p(5 * x) / np.log(6),
    "shading of a factor of five": lambda x: x * torch.linspace(0, -1.6, x.shape[2]).exp(),
    "a half as bright": lambda x: 0.5 * x,
}


@pytest.mark.parametrize("name", GOOD)
def test_it_is_silent_on_a_good_scan_whatever_its_curve_and_shading(reference, name):
    assert unlike(changed(volume(9), GOOD[name](volume(9).image)), reference) == []


def test_no_increasing_curve_and_little_shading_change_the_layout(reference):
    plain = likeness(stack(volume(9)), reference).layout
    for name, change in GOOD.items():
        assert likeness(changed(volume(9), change(volume(9).image)), reference).layout == pytest.approx(
            plain, abs=0.1
        ), name


def noise(of: Volume) -> torch.Tensor:
    return 0.5 + 0.2 * torch.randn(of.image.shape, generator=torch.Generator().manual_seed(0))


def striped(of: Volume) -> torch.Tensor:
    spectrum = torch.fft.fftn(of.image)
    spectrum[5, 11, 7] = 0.3 * spectrum.abs().max()
    return torch.fft.ifftn(spectrum).abs()


def vessels(of: Volume) -> torch.Tensor:
    """Blobs of twice white matter in the brain's outer 2 voxels."""
    mask = of.mask.numpy()
    outer = mask & ~ndimage.binary_erosion(mask, iterations=2)
    blobs = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(mask.shape), 1)
    image = np.where(outer & (blobs > np.quantile(blobs[outer], 0.9)), 2 * LEVELS[3], of.image.numpy())
    return torch.from_numpy(image / np.percentile(image[mask], 99.5))


BAD = {
    "noise": (noise, "do not lie where"),
    "T2w": (lambda of: 1 - of.image, "T2w"),
    "labels": (lambda of: torch.from_numpy(tissues(9) / 3.0), "labels"),
    "spike": (striped, "stripes"),
    "contrast agent": (vessels, "contrast agent"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_plain_t1w_brain_is_named(reference, name):
    make, word = BAD[name]
    found = unlike(changed(volume(9), make(volume(9))), reference)
    assert any(word in each for each in found), found
    assert all(each.startswith(UNLIKE) for each in found)


def test_other_orders_of_the_tissues_lie_between(reference):
    infant = volume(9, levels=np.array([0, 0.2, 0.9, 0.7]))
    fluid = volume(9, levels=np.array([0, 0.9, 0.6, 0.4]))
    found = [likeness(stack(each), reference).layout for each in (volume(9), infant, fluid)]
    assert found == sorted(found, reverse=True)
    assert found[2] < -0.3


def test_a_slab_is_too_thin_whatever_is_in_it(reference):
    whole = volume(9)
    slab = Volume(whole.scan, whole.image[:20], whole.mask[:20], None, whole.affine, 1.0)
    assert unlike(stack(slab), reference) == [THIN]
    unknown = replace(stack(whole), spacing=None)
    assert unlike(unknown, reference) == []
    assert unlike(Stack(unknown.image[:5], unknown.mask[:5], unknown.position[:5]), reference) == [THIN]
    assert unlike(replace(stack(whole), mask=torch.zeros_like(unknown.mask)), reference) == [THIN]


def test_a_child_is_named_where_ages_are_known(reference):
    (said,) = unlike(stack(volume(9)), reference, age=3, ages=[20.2, 75.8])
    assert said.startswith(UNLIKE)
    assert "a child of 3" in said
    assert unlike(stack(volume(9)), reference, age=19, ages=[20.2, 75.8]) == []
    assert [too_young(age, [5.0, 12.0]) for age in (None, 4.0, 5.0, 40.0)] == [False, True, False, False]
    assert not too_young(3.0, [])


def test_slices_of_another_size_are_held_against_the_same_brain(reference):
    small, plain = volume(9), stack(volume(9))
    pad = torch.nn.functional.pad
    grown = Stack(pad(plain.image, (8, 8, 8, 8)), pad(plain.mask, (8, 8, 8, 8)), plain.position, plain.spacing)
    assert likeness(grown, reference).layout == pytest.approx(likeness(stack(small), reference).layout, abs=1e-6)
