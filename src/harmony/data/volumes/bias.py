"""N4 bias field correction (Tustison et al. 2010), through SimpleITK."""

from __future__ import annotations

import numpy as np

from harmony.core import ConfigError

SHRINK = 3  # the field is smooth: fitted on every third voxel, as the N4 authors' own scripts do


def n4(data: np.ndarray, mask: np.ndarray, spacing: np.ndarray, levels: int = 4) -> np.ndarray:
    """The image divided by its estimated shading: (X, Y, Z) float32, bool, voxel size in mm -> (X, Y, Z) float32.

    levels: the mesh of the field starts with one spline an axis, and each further level doubles it; 4 is N4's default.
    An axis of one voxel is no axis: its image is corrected in two dimensions. Outside the mask the voxels stay what
    they are. Raises ConfigError where SimpleITK is not installed.
    """
    try:
        import SimpleITK as sitk
    except ImportError as error:
        raise ConfigError("N4 needs SimpleITK -> pip install 'harmony-mri[n4]'") from error
    image, inside = (sitk.GetImageFromArray(a.squeeze()) for a in (data.astype(np.float32), mask.astype(np.uint8)))
    for each in (image, inside):
        each.SetSpacing(
            [float(side) for side in spacing[np.array(data.shape) > 1][::-1]]
        )  # SimpleITK counts axes from the last
    # Never shrunk below 20 voxels an axis: the spline mesh needs something to hold on to.
    factors = [max(1, min(SHRINK, n // 20)) for n in image.GetSize()]
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([50] * levels)
    corrector.Execute(sitk.Shrink(image, factors), sitk.Shrink(inside, factors))
    field = sitk.GetArrayFromImage(sitk.Exp(corrector.GetLogBiasFieldAsImage(image))).reshape(data.shape)
    return np.where(mask, data / np.maximum(field, 1e-3), data).astype(np.float32)
