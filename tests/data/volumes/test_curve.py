"""A method that is one curve acts on the file's own voxels: on a finer grid nothing of it is interpolated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from phantoms import AFFINE, phantom, preprocess, save
from scipy import ndimage

from harmony.core import Scan
from harmony.core.intensity_curve import IntensityCurve
from harmony.core.reference import Reference
from harmony.data import read_nifti
from harmony.methods import HistogramMatching, Nyul

FINE = np.array([[1.0, 0, 0, -48], [0, 1, 0, -60], [0, 0, 1, -46], [0, 0, 0, 1]])
WIDE = (56, 72)


def fine_brain(seed: int) -> np.ndarray:
    """(96, 120, 92) at 1 mm: folded tissues of three levels, with grain, in an ellipsoid with fluid at its edge."""
    rng = np.random.default_rng(seed)
    x, y, z = np.moveaxis(np.moveaxis(np.indices((96, 120, 92)), 0, -1) + FINE[:3, 3], -1, 0)
    radius = np.sqrt((x / 44) ** 2 + (y / 56) ** 2 + (z / 42) ** 2)
    folds = ndimage.gaussian_filter(rng.standard_normal(radius.shape), 4) * 40
    depth = (1 - radius) * 44 + folds  # mm below a folded surface
    level = np.select([depth < 1, depth < 4, depth < 30], [40.0, 110.0, 160.0], 45.0)
    image = ndimage.gaussian_filter(level, 0.6) + 2 * rng.standard_normal(level.shape)
    return np.where(radius < 1, image.clip(1), 0)


def outermost(mask: np.ndarray) -> np.ndarray:
    return mask & (ndimage.distance_transform_edt(mask) <= 1)


def rms(found: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Root mean square of the difference after one factor, in units of the truth's robust maximum."""
    scale = float((found[where] * truth[where]).sum() / (found[where] ** 2).sum())
    return float(np.sqrt(np.mean((scale * found - truth)[where] ** 2)) / np.percentile(truth[truth > 0], 99.5))


@pytest.mark.parametrize("exponent", [0.7, 1.4])
@pytest.mark.parametrize(("kind", "most"), [("histogram_matching", 0.01), ("nyul", 0.015)])
def test_a_curve_of_a_1_mm_brain_is_undone_to_its_edge(tmp_path: Path, exponent: float, kind: str, most: float):
    """Outermost mm. The change resampled from 2 mm leaves a third more, or twice as much."""
    truth = fine_brain(0)
    top = truth.max()
    prepare = preprocess(size=WIDE)
    volume = prepare(Scan(save(tmp_path / "t.nii.gz", truth, FINE), "t"))
    reference = Reference.of([volume], positions=24, quantiles=1024)
    scan = Scan(save(tmp_path / "q.nii.gz", top * (truth / top) ** exponent, FINE), "q")
    query, native = prepare(scan), read_nifti(scan.path, subject="q")
    methods = {
        "histogram_matching": HistogramMatching(reference=reference),
        "nyul": Nyul(reference=reference, percentiles=[1, *range(10, 100, 10), 99]),
    }
    made = methods[kind].harmonize(query.stack(query.select(None, 1)))
    edge, brain = outermost(truth > 0), truth > 0
    found = prepare.restore(query, made.image[:, 0], native, made.gain, made.curve)
    resampled = prepare.restore(query, made.image[:, 0], native)
    assert rms(native.data, truth, edge) > 0.04
    assert rms(found, truth, edge) < most
    assert rms(found, truth, brain) < most
    assert rms(resampled, truth, edge) > 1.3 * rms(found, truth, edge)
    assert np.array_equal(found[~brain], native.data[~brain])


def test_on_the_models_own_grid_it_is_the_methods_image(tmp_path: Path):
    scan = Scan(save(tmp_path / "i.nii.gz", phantom()[0]), "s")
    prepare = preprocess(percentile=100.0)
    volume, native = prepare(scan), read_nifti(scan.path, subject="s")
    bent = torch.where(volume.mask, volume.image.sqrt(), 0)
    reference = Reference.of([volume.__class__(**vars(volume) | {"image": bent})], positions=8, quantiles=256)
    made = HistogramMatching(reference=reference).harmonize(volume.stack(volume.select(None, 1)))
    back = prepare.restore(volume, made.image[:, 0], native, curve=made.curve)
    plain = prepare.restore(volume, made.image[:, 0], native)
    np.testing.assert_allclose(back, plain, atol=1e-3 * volume.scale)
    assert not np.allclose(back, native.data, atol=0.01 * volume.scale)


def test_a_straight_curve_changes_nothing_and_a_highlight_keeps_its_height(tmp_path: Path):
    data = phantom()[0]
    data[15, 18, 14] = 5000
    scan = Scan(save(tmp_path / "i.nii.gz", data, AFFINE), "s")
    prepare = preprocess()
    volume, native = prepare(scan), read_nifti(scan.path, subject="s")
    straight, darker = (
        IntensityCurve(np.array([1.0]), np.array([1.0])),
        IntensityCurve(np.array([1.0]), np.array([0.9])),
    )
    same = prepare.restore(volume, volume.image, native, curve=straight)
    np.testing.assert_allclose(same, native.data, rtol=1e-5)
    out = prepare.restore(volume, 0.9 * volume.image, native, curve=darker)
    assert out[15, 18, 14] == pytest.approx(5000 - 0.1 * volume.scale, rel=1e-5)


def test_a_curve_runs_through_its_points_from_nothing_and_never_falls():
    curve = IntensityCurve(np.array([0.2, 0.5, 1.0]), np.array([0.1, 0.1, 0.8]))
    x = np.array([-0.3, 0.0, 0.1, 0.2, 0.35, 0.75, 1.0, 1.5])
    np.testing.assert_allclose(curve(x), [-0.3, 0.0, 0.05, 0.1, 0.1, 0.45, 0.8, 1.3])
    assert (np.diff(curve(np.linspace(-1, 2, 500))) >= 0).all()
