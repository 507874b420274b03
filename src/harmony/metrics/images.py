"""How close a harmonized image is to the truth, and how evenly its slices were changed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

PSNR_CAP = 100.0  # dB, reported for identical images, so that means stay finite


def psnr(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB for data range 1: -10 log10 mean (image - truth)^2.

    image, truth: (S, 1, H, W); the mean runs over the whole stack, or over the pixels of `mask`. At most 100 dB;
    nan of an image that has one.
    """
    error = (image.double() - truth.double()).square()
    mse = float(error[mask].mean() if mask is not None else error.mean())
    return PSNR_CAP if mse == 0 else float(np.minimum(PSNR_CAP, -10 * np.log10(mse)))


def ssim_map(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity at every pixel (Wang et al. 2004: Gaussian window, sigma 1.5, data range 1), in [-1, 1].

    The 2-D map of each slice, (S, 1, H, W) in float64. SSIM is its mean: over the stack, some slices or a mask.
    """
    from skimage.metrics import structural_similarity

    maps = [
        structural_similarity(
            a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )[1]
        for a, b in zip(image[:, 0].double().cpu().numpy(), truth[:, 0].double().cpu().numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(maps))[:, None]


def jitter(harmonized: Tensor, query: Tensor, mask: Tensor) -> float:
    """How unevenly neighbouring slices were changed, in grey levels of 255; 0 for a method that changes nothing.

        d_k = mean over the brain of slice k of (harmonized - query);   jitter = 255 mean_k |d_{k+1} - d_k|

    harmonized, query, mask: (S, 1, H, W), slices in order. Slices without brain are left out.
    """
    inside = mask.flatten(1)
    count = inside.sum(1)
    change = ((harmonized - query).flatten(1) * inside).sum(1)[count > 0] / count[count > 0]
    return 255 * float(change.diff().abs().mean()) if len(change) > 1 else 0.0
