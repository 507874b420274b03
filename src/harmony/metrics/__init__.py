"""Pure functions that score an image, a label map, a number."""

from harmony.metrics.against import Against, against, holm, recovered, slope
from harmony.metrics.entropy import prediction_entropy
from harmony.metrics.images import jitter, psnr, ssim
from harmony.metrics.labels import lesion_contrast, white_surroundings
from harmony.metrics.summary import Interval, bootstrap_mean

__all__ = [
    "Against",
    "Interval",
    "against",
    "bootstrap_mean",
    "holm",
    "jitter",
    "lesion_contrast",
    "prediction_entropy",
    "psnr",
    "recovered",
    "slope",
    "ssim",
    "white_surroundings",
]
