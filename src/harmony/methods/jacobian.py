"""How much an intensity map stretches or squeezes: the log-Jacobian of its curve."""

from __future__ import annotations

import torch
from torch import Tensor

KNOTS = 17  # intensities 0, 1/16, ..., 1 between which the curve is a line; fewer blur it, more leave knots empty
_FLATTEST = 1e-3  # slope at which the penalty stops growing: a flat stretch has no logarithm


def curve_log_jacobian(image: Tensor, output: Tensor, mask: Tensor) -> Tensor:
    """log2 |dh/dx| per pixel of the whole image, in bits, of the mean intensity curve h that took `image` to `output`.

    The curve is E[output | image = v] at evenly spaced v (linear weights), over all slices given; its slope between two
    knots counts as often as pixels fall between them:

        J = 1/D  sum_brain pixels  log2 slope(x)          D = all pixels, background included (slope 1)

    For output = a x + b it is log2(a) times the brain's share of the image. With it the change of variables is whole:
    bpd(h(x)) - J is the bits per dimension of x itself under the model "h(x) is a reference image", which squeezing
    the contrast cannot lower. image, output, mask: (B, 1, H, W). Returns a scalar, differentiable in `output`.
    """
    x, y = image[mask], output[mask]
    if len(x) == 0:
        return output.sum() * 0
    place = x.clamp(0, 1) * (KNOTS - 1)
    left = place.floor().clamp(max=KNOTS - 2).long()
    share = place - left
    weight = torch.zeros(KNOTS, dtype=x.dtype, device=x.device)
    weight = weight.index_add(0, left, 1 - share).index_add(0, left + 1, share)
    total = torch.zeros_like(weight).index_add(0, left, (1 - share) * y).index_add(0, left + 1, share * y)
    moment = torch.zeros_like(weight).index_add(0, left, (1 - share) * x).index_add(0, left + 1, share * x)
    seen = weight > 1e-3 * len(x) / KNOTS  # knots that hardly a pixel is near say nothing of a slope
    curve, at = total[seen] / weight[seen], moment[seen] / weight[seen]  # mean output at the mean input near each knot
    if len(curve) < 2:
        return output.sum() * 0
    slope = (curve.diff() / at.diff()).clamp(min=_FLATTEST)
    between = torch.bucketize(x, at[1:-1].contiguous())
    return slope[between].log2().sum() / image.numel()
