"""Pure functions that score an image, a label map, a number."""

from harmony.metrics.against import Against, against, holm, recovered, slope
from harmony.metrics.images import jitter, psnr, ssim
from harmony.metrics.labels import lesion_contrast, white_surroundings
from harmony.metrics.summary import Interval, mean_interval, ratio

__all__ = [
    "Against",
    "Interval",
    "against",
    "holm",
    "jitter",
    "lesion_contrast",
    "mean_interval",
    "psnr",
    "ratio",
    "recovered",
    "slope",
    "ssim",
    "white_surroundings",
]
