"""From a scan to its scanner, and back: y -> blur, noise, tissue maps, gains, shading -> x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harmony.core.scanner.contrast import FLOOR, Contrast, Fit, brain_box, fit_contrast, places
from harmony.core.scanner.evidence import evidence_of
from harmony.core.scanner.prior import Prior, Read
from harmony.core.scanner.resolution import Resolution, deblur, texture

EVERY = 4  # of the voxels that the gains are fitted to: 22 numbers from some 40,000 voxels
BRIGHT = 1.5  # a deblurred voxel overshoots; beyond this it is an artefact

MapNetwork = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Estimate:
    """What was found out about a scan (S, H, W), and what it takes to undo it.

    clear: the deblurred scan. maps: (K, S, H, W) probabilities.
    read: blur and noise as they are read, before small ones are taken for none.
    """

    resolution: Resolution
    clear: Tensor
    maps: Tensor
    fit: Fit
    read: Read

    @property
    def evidence(self) -> Tensor:
        """(D,) all that tells a scanner from none: gains, shading, log spread of each tissue, blur, noise."""
        return torch.cat(
            (self.fit.contrast.theta, self.fit.spread.log(), torch.stack((self.read.width, self.read.noise)))
        )

    def gain(self, contrast: Contrast, mask: Tensor) -> Tensor:
        """(S, H, W) the factor that undoes the gains: sum_k p_k / gain_k, the posterior mean; 1 outside the mask."""
        undoing = (-contrast.log_over(brain_box(mask))).exp()
        return torch.where(mask, (self.maps * undoing).sum(0), 1)


def estimate(
    image: Tensor,
    mask: Tensor,
    network: MapNetwork,
    prior: Prior,
    *,
    rounds: int,
    resolution: Resolution | None = None,
    maps: Tensor | None = None,
) -> Estimate:
    """image: (S, H, W), its robust maximum 1. rounds: of maps and fit, each round knowing the fit of the one before.

    resolution, maps: where they are known, as in an ablation; nothing is estimated then.
    """
    read = prior.reading.read(texture(image, mask))
    found = prior.reading.resolution(read) if resolution is None else resolution
    clear = deblur(image, mask, found, prior.spectrum).clamp(0, BRIGHT)
    box, some = brain_box(mask), mask.nonzero()[::EVERY]
    at, (z, y, x) = places(box, some), some.unbind(1)
    tissues = len(prior.expected.spread)
    seen_as, known = torch.zeros(tissues, *image.shape).to(image), False
    for _ in range(rounds + 1):
        volume, constants = evidence_of(clear, image, mask, seen_as, found, prior.expected, known)
        probabilities = network(volume[None], constants[None])[0].softmax(0) if maps is None else maps
        fit = fit_contrast(clear[z, y, x].clamp(min=FLOOR), probabilities[:, z, y, x], at, prior.expected)
        seen_as, known = fit.contrast.log_over(box), True
    return Estimate(found, clear, probabilities, fit, read)
