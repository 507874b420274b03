"""The even scan: a shading of any smooth shape comes off in rounds, coarse to fine, with the tissue maps made anew.

A coil's shading is no cubic, and a network that never saw such a shading finds no tissue in it: what is left of it in
each round is less, and the maps of the next are better.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harmony.scanner.contrast import (
    FLOOR,
    TUKEY,
    Contrast,
    TissueIntensity,
    brain_box,
    fit_contrast,
    places,
)
from harmony.scanner.field import rough_field, smooth_mean
from harmony.scanner.inversion import BRIGHTEST, EVERY, MapNetwork, network_input

SIGMAS = (16.0, 12.0, 8.0)  # mm, of the field's Gaussian from round to round; the last until it has settled, each time
# from the field before it: means of means of what is left would follow ever finer detail
SETTLED = 1e-3  # of the log field, root mean square of a round's change
MOST_ROUNDS = 6
AROUND = 5.0  # mm: sigma of the Gaussian that says what is around a voxel ...
SURROUNDED = 0.55, 0.75  # ... and the share of the last tissue from which, and up to which, it counts as that
OUTLIER = 2.0  # deviations of a tissue, in `TUKEY`s, beyond which a voxel says nothing of the field: lesions, vessels


@dataclass(frozen=True)
class EvenScan:
    """A scan (S, H, W) as log y = log E_k + log_gains[k] + field, of the reference's E_k(r).

    maps: (K, S, H, W) probabilities of the tissues, lesions with what is around them (`surrounded`). log_gains: (K,),
    relative to the last tissue, whose own is in the field. change: root mean square of the last round's change of the
    field.
    """

    maps: Tensor
    field: Tensor
    log_gains: Tensor
    change: float

    def gain(self, log_gains: Tensor, expected: TissueIntensity, mask: Tensor) -> Tensor:
        """(S, H, W) the factor that takes the shading off, the reference's own with it, so that the last tissue is as
        bright everywhere as it is on average, and undoes these (K,) gains of the tissues; 1 outside the mask.

        A voxel holds tissues in the shares p_k, as in `Estimate.gain`.
        """
        log = expected.log_over(brain_box(mask))
        level = (self.maps[-1] * log[-1])[mask].sum() / self.maps[-1][mask].sum().clamp(min=1e-6)
        share = self.maps * (log - log[-1]).exp()
        contrast = share.sum(0) / (share * log_gains.exp().view(-1, 1, 1, 1)).sum(0).clamp(min=1e-6)
        return torch.where(mask, (level - self.field - log[-1]).exp() * contrast, 1)


def even_scan(
    clear: Tensor, image: Tensor, mask: Tensor, network: MapNetwork, expected: TissueIntensity, spacing: float
) -> EvenScan:
    """clear, image: (S, H, W), deblurred and as it is. expected: of the reference scanner. spacing: voxel side, mm."""
    field = base = rough_field(clear, mask, spacing)
    change, given = float("inf"), network_input(clear, image, mask)
    for count in range(MOST_ROUNDS):
        maps = network(torch.where(mask, given / field.exp(), 0).clamp(0, BRIGHTEST)[None])[0].softmax(0)
        sigma = SIGMAS[min(count, len(SIGMAS) - 1)]
        before, (field, log_gains) = field, refined(clear, mask, maps, base, expected, spacing, sigma)
        change = float((field - before)[mask].square().mean().sqrt())
        if count < len(SIGMAS) - 1:
            base = field
        elif count >= len(SIGMAS) and change < SETTLED:
            break
    return EvenScan(surrounded(maps, mask, spacing), field, log_gains, change)


def surrounded(maps: Tensor, mask: Tensor, spacing: float) -> Tensor:
    """(K, S, H, W) the maps, with the last tissue wherever it is nearly all that is around: a lesion is none of the
    tissues, and takes the gain of what it lies in."""
    around = smooth_mean(maps[-1], mask.to(maps), spacing, AROUND)
    inside = ((around - SURROUNDED[0]) / (SURROUNDED[1] - SURROUNDED[0])).clamp(0, 1)
    last = torch.zeros_like(maps)
    last[-1] = 1
    return torch.lerp(maps, last, inside)


def refined(
    clear: Tensor, mask: Tensor, maps: Tensor, field: Tensor, expected: TissueIntensity, spacing: float, sigma: float
) -> tuple[Tensor, Tensor]:
    """The field and the gains of the tissues, given a field that is nearly right: what a cubic says is left of it, by
    the least squares that tell gains from shading; then a mean, over a Gaussian of `sigma` mm, of what every tissue
    says is left, sum_k w_k (log y - log E_k - g_k - field), w_k = p_k^2 / spread_k^2 times Tukey's biweight."""
    box, some = brain_box(mask), mask.nonzero()[:: 2 * EVERY]  # in every round: half of what a single fit takes
    z, y, x = some.unbind(1)
    log = clear.clamp(min=FLOOR).log()
    fit = fit_contrast((log - field).exp()[z, y, x], maps[:, z, y, x], places(box, some), expected)
    gains, last = fit.contrast.log_gains, fit.contrast.log_gains[-1]
    field = field + Contrast(gains[-1:], fit.contrast.field).log_over(box)[0]
    residual = log - field - expected.log_over(box) - (gains - last).view(-1, 1, 1, 1)
    spread = fit.spread.view(-1, 1, 1, 1)
    weight = mask * (maps / spread).square() * (1 - (residual / (OUTLIER * TUKEY * spread)).clamp(-1, 1) ** 2) ** 2
    total = weight.sum(0)
    left = (weight * residual).sum(0) / total.clamp(min=1e-6)
    return field + smooth_mean(left, total, spacing, sigma), gains - last
