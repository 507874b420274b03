"""Pure functions that score an image, a label map, a number."""

from harmony.metrics.images import jitter, psnr, ssim
from harmony.metrics.summary import Interval, bootstrap_mean

__all__ = ["Interval", "bootstrap_mean", "jitter", "psnr", "ssim"]
