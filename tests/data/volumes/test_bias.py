"""N4 takes out a known shading, and the preprocessing carries it through to the output."""

import nibabel
import numpy as np
import pytest

from harmony.core import Scan
from harmony.data import Preprocess, read_nifti
from harmony.data.volumes.bias import n4

pytest.importorskip("SimpleITK")


@pytest.fixture(scope="module")
def shaded():
    """A ball of three tissues, 40 x 44 x 48 voxels, under a smooth field; and the field."""
    x, y, z = np.moveaxis(np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 44, 48)), indexing="ij")), 0, 0)
    radius = np.sqrt(x**2 + y**2 + z**2)
    tissue = np.select([radius < 0.35, radius < 0.6, radius < 0.8], [300.0, 700.0, 1000.0])
    tissue *= 1 + 0.01 * np.random.default_rng(0).standard_normal(tissue.shape)
    field = np.exp(0.3 * x + 0.2 * y * z)
    return (tissue * field).astype(np.float32), radius < 0.8, tissue


def spread(image, tissue):
    """Relative deviation within the tissues: what shading adds."""
    parts = [image[(tissue > low) & (tissue < high)] for low, high in ((200, 400), (600, 800), (900, 1100))]
    return np.mean([part.std() / part.mean() for part in parts])


def test_the_shading_goes_and_the_background_stays(shaded):
    image, mask, tissue = shaded
    corrected = n4(image, mask, np.array([2.0, 2.0, 2.0]))
    assert spread(image, tissue) > 0.08
    assert spread(corrected, tissue) < 0.5 * spread(image, tissue)
    np.testing.assert_array_equal(corrected[~mask], image[~mask])
    coarse = n4(image, mask, np.array([2.0, 2.0, 2.0]), levels=1)
    assert spread(corrected, tissue) < spread(coarse, tissue)


def test_the_identity_after_n4_gives_back_the_corrected_scan(shaded, tmp_path):
    image, _, _ = shaded
    path = tmp_path / "sub-1_T1w.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    preprocess = Preprocess(spacing=2.0, axis="axial", size=(48, 48), percentile=99.5, n4=True)
    scan = Scan(path, "sub-1")
    native = read_nifti(path, subject="sub-1")
    volume = preprocess(scan)
    restored = preprocess.restore(volume, volume.image, native)
    np.testing.assert_allclose(restored, n4(native.data, native.data > 0, np.full(3, 2.0)), rtol=1e-5)
    assert not np.allclose(restored, native.data)
    assert preprocess.settings()["n4"] is True
