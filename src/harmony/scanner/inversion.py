"""From a scan to its scanner, and back: y -> blur, noise, tissue maps, gains, shading -> x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harmony.scanner.contrast import FLOOR, Contrast, ContrastFit, TissueIntensity, brain_box, fit_contrast, places
from harmony.scanner.prior import Appearance
from harmony.scanner.resolution import Resolution, deblur, texture
from harmony.scanner.texture_model import UNBLURRED, TextureFit, Widths

EVERY = 4  # of the voxels that the gains are fitted to: 22 numbers from some 40,000 voxels
BRIGHTEST = 1.5  # a deblurred voxel overshoots; beyond this it is an artefact

MapNetwork = Callable[[Tensor], Tensor]
"""`network_input` of volumes, (B, 2, S, H, W) on the CPU -> (B, K, S, H, W) logits of the tissues, there too."""


@dataclass(frozen=True)
class Estimate:
    """What a scanner did to a scan (S, H, W), and what it takes to undo it.

    clear: the deblurred scan. maps: (K, S, H, W) probabilities. fit: gains and shading, before any is taken for the
    subject's own. texture: blur and noise, before small ones are taken for none (`resolution`).
    """

    resolution: Resolution
    clear: Tensor
    maps: Tensor
    fit: ContrastFit
    texture: TextureFit

    @property
    def evidence(self) -> Tensor:
        """(D,) all that tells a scanner from none: gains, shading, log spread of each tissue, blur, noise."""
        return torch.cat(
            (self.fit.contrast.theta, self.fit.spread.log(), torch.stack((self.texture.width, self.texture.more_noise)))
        )

    def gain(self, contrast: Contrast, expected: TissueIntensity, mask: Tensor) -> Tensor:
        """(S, H, W) the factor that undoes the gains of voxels that hold tissues in the shares p_k and are as bright as
        these together, sum_k p_k E_k / sum_k p_k E_k gain_k; 1 where there is no tissue. (The posterior mean of a voxel
        that is one of them, sum_k p_k / gain_k, makes bright rims where a voxel holds a little of a far darker fluid.)
        """
        box = brain_box(mask)
        level = self.maps * expected.log_over(box).exp()
        scanned = (level * contrast.log_over(box).exp()).sum(0)
        return torch.where(mask & (scanned > 0), level.sum(0) / scanned, 1)

    def restored(self, gain: Tensor, mask: Tensor) -> Tensor:
        """(S, H, W) the deblurred scan times the gain, 0 outside the mask."""
        return torch.where(mask, gain * self.clear, 0).clamp(0, 1)


def estimate(
    image: Tensor,
    mask: Tensor,
    network: MapNetwork,
    appearance: Appearance,
    *,
    resolution: Resolution | None = None,
    maps: Tensor | None = None,
    read: TextureFit | None = None,
    resampled: Widths = UNBLURRED,
) -> Estimate:
    """image: (S, H, W), its robust maximum 1. appearance: of the reference scanner; a `Prior` is one.

    resolution, maps: where they are known, as in an ablation; nothing is estimated then. read: the texture's fit, where
    it is at hand. resampled: of the stack.
    """
    read = appearance.texture.fit(texture(image, mask)) if read is None else read
    texture_fit = read.without(resampled)
    resolution = appearance.texture.resolution(texture_fit, appearance.spectrum) if resolution is None else resolution
    clear = deblur(image, mask, resolution, appearance.spectrum).clamp(0, BRIGHTEST)
    maps = network(network_input(clear, image, mask)[None])[0].softmax(0) if maps is None else maps
    some = mask.nonzero()[::EVERY]
    z, y, x = some.unbind(1)
    at = places(brain_box(mask), some)
    fit = fit_contrast(clear[z, y, x].clamp(min=FLOOR), maps[:, z, y, x], at, appearance.expected)
    return Estimate(resolution, clear, maps, fit, texture_fit)


def network_input(clear: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """(2, S, H, W) what the network of tissue maps is given: the deblurred scan and the scan, inside the brain."""
    return torch.where(mask, torch.stack((clear, image)), 0)
