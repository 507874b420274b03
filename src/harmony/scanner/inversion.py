"""From a scan to its scanner, and back: y -> blur, noise, tissue maps, gains, shading -> x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harmony.scanner.contrast import FLOOR, Contrast, Fit, TissueIntensity, brain_box, fit_contrast, places
from harmony.scanner.prior import Prior, Read
from harmony.scanner.resolution import Resolution, deblur, texture

EVERY = 4  # of the voxels that the gains are fitted to: 22 numbers from some 40,000 voxels
BRIGHT = 1.5  # a deblurred voxel overshoots; beyond this it is an artefact

MapNetwork = Callable[[Tensor], Tensor]


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

    def gain(self, contrast: Contrast, expected: TissueIntensity, mask: Tensor) -> Tensor:
        """(S, H, W) the factor that undoes the gains of voxels that hold tissues in the shares p_k and are as bright as
        these together, sum_k p_k E_k / sum_k p_k E_k gain_k; 1 where there is no tissue. (The posterior mean of a voxel
        that is one of them, sum_k p_k / gain_k, makes bright rims where a voxel holds a little of a far darker fluid.)
        """
        box = brain_box(mask)
        level = self.maps * expected.log_over(box).exp()
        seen = (level * contrast.log_over(box).exp()).sum(0)
        return torch.where(mask & (seen > 0), level.sum(0) / seen, 1)

    def restored(self, gain: Tensor, mask: Tensor) -> Tensor:
        """(S, H, W) the deblurred scan times the gain, 0 outside the mask."""
        return torch.where(mask, gain * self.clear, 0).clamp(0, 1)


def estimate(
    image: Tensor,
    mask: Tensor,
    network: MapNetwork,
    prior: Prior,
    *,
    resolution: Resolution | None = None,
    maps: Tensor | None = None,
) -> Estimate:
    """image: (S, H, W), its robust maximum 1. network: `shown` of it, as a batch of one -> logits.

    resolution, maps: where they are known, as in an ablation; nothing is estimated then.
    """
    read = prior.reading.read(texture(image, mask))
    found = prior.reading.resolution(read, prior.spectrum) if resolution is None else resolution
    clear = deblur(image, mask, found, prior.spectrum).clamp(0, BRIGHT)
    maps = network(shown(clear, image, mask)[None])[0].softmax(0) if maps is None else maps
    some = mask.nonzero()[::EVERY]
    z, y, x = some.unbind(1)
    at = places(brain_box(mask), some)
    fit = fit_contrast(clear[z, y, x].clamp(min=FLOOR), maps[:, z, y, x], at, prior.expected)
    return Estimate(found, clear, maps, fit, read)


def shown(clear: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
    """(2, S, H, W) what the tissue network is shown: the deblurred scan and the scan, inside the brain."""
    return torch.where(mask, torch.stack((clear, seen)), 0)
