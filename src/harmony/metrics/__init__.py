"""Pure functions that score an image, a label map, a number."""

from harmony.analysis import Against, Interval, against, bootstrap_mean, holm, recovered  # moved: import them there
from harmony.metrics.images import jitter, psnr, ssim
from harmony.metrics.labels import lesion_contrast, white_surroundings

__all__ = [
    "Against",
    "Interval",
    "against",
    "bootstrap_mean",
    "holm",
    "jitter",
    "lesion_contrast",
    "psnr",
    "recovered",
    "ssim",
    "white_surroundings",
]
