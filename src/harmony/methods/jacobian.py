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

    Pixels outside the brain weigh 0 and are not left out: nothing in here waits for the device.
    """
    x, y, inside = image.flatten(), output.flatten(), mask.flatten()
    weight, moment, total = _at_knots(x, y, inside)
    seen = weight > 1e-3 * inside.sum() / KNOTS  # knots that hardly a pixel is near say nothing of a slope
    share = torch.where(seen, weight, 1)
    # The knots seen come first, in their order; what lies behind the last of them is never reached.
    order = torch.argsort(seen.logical_not().to(torch.uint8), stable=True)
    curve, at = (total / share)[order], (moment / share)[order]  # mean output at the mean input near each knot
    between = torch.arange(1, KNOTS, device=x.device) < seen.sum()
    run = torch.where(between, at.diff(), 1)
    slope = torch.where(between, curve.diff() / run, 1).clamp(min=_FLATTEST)
    last = torch.arange(2, KNOTS, device=x.device) >= seen.sum()
    place = torch.bucketize(x, at[1:-1].masked_fill(last, torch.inf))
    pixels = torch.zeros(KNOTS - 1, dtype=torch.long, device=x.device).index_add(0, place, inside.long())
    return (pixels * slope.log2()).sum() / image.numel()


def _at_knots(x: Tensor, y: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many brain pixels are near each knot, and the sums of their x and of their y; (KNOTS,) each."""
    place = x.clamp(0, 1) * (KNOTS - 1)
    left = place.floor().clamp(max=KNOTS - 2).long()
    right_share = (place - left) * inside
    left_share = (1 - (place - left)) * inside

    def collected(values: Tensor) -> Tensor:
        none = torch.zeros(KNOTS, dtype=x.dtype, device=x.device)
        return none.index_add(0, left, left_share * values).index_add(0, left + 1, right_share * values)

    return collected(torch.ones_like(x)), collected(x), collected(y)
