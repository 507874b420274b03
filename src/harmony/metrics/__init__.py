"""Pure functions that score an image, a label map, a number."""

from harmony.metrics.against import Against, against, better, recovered, slope
from harmony.metrics.images import jitter, psnr, ssim
from harmony.metrics.summary import Interval, Paired, bootstrap_mean, holm, paired

__all__ = [
    "Against",
    "Interval",
    "Paired",
    "against",
    "better",
    "bootstrap_mean",
    "holm",
    "jitter",
    "paired",
    "psnr",
    "recovered",
    "slope",
    "ssim",
]
