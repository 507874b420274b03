"""Pure functions that score an image, a label map, a number."""

from harmony.metrics.entropy import prediction_entropy
from harmony.metrics.images import jitter, psnr, ssim_map
from harmony.metrics.labels import lesion_contrast, white_surroundings

__all__ = [
    "jitter",
    "lesion_contrast",
    "prediction_entropy",
    "psnr",
    "ssim_map",
    "white_surroundings",
]
