"""An image-to-image network that starts as the identity: the U-Net baseline, and the generators of a CycleGAN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harmony.networks.unet import AnySizeUNet


class Translator(nn.Module):
    """x -> clip(x + r(x)) inside the brain, 0 outside, for x (B, 1, H, W) in [0, 1] of any size.

    r is MONAI's residual U-Net (Kerfoot et al. 2018), with a 1x1 convolution at its end that is 0 at the start: a new
    network gives back its input, bit for bit. Clip and mask are part of it, so that what a loss sees is what is scored
    and written.

    Args:
        widths: channels per stage. The first two stages are at full resolution: a grey-level curve wants every pixel.
        residual_units: convolutions per stage.
    """

    def __init__(self, *, widths: Sequence[int], residual_units: int) -> None:
        from monai.networks.nets import UNet

        super().__init__()
        strides = (1, *(2,) * (len(widths) - 2))
        # No normalisation: it would take from the features the grey level that is to be mapped.
        net = UNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=widths[0],
            channels=widths,
            strides=strides,
            num_res_units=residual_units,
            norm=None,
        )
        self.features = AnySizeUNet(net, divisor=2 ** (len(widths) - 2))
        self.residual = nn.Conv2d(widths[0], 1, 1)
        nn.init.zeros_(self.residual.weight)
        assert self.residual.bias is not None
        nn.init.zeros_(self.residual.bias)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """mask: (B, 1, H, W) bool, True inside the brain."""
        return torch.where(mask, (image + self.residual(self.features(image))).clamp(0, 1), 0)


class PatchCritic(nn.Module):
    """(B, 1, H, W) in [0, 1] -> (B, 1, h, w): how real each patch looks, 1 real and 0 not. PatchGAN, Isola et al. 2017.

    MONAI's, but for two things without which it hardly learned to tell two contrasts of one anatomy apart: there is no
    normalisation, which takes the contrast away, and so the convolutions start as PyTorch's, not from N(0, 0.02).

    Args:
        width: channels of the first convolution; doubled at each of the `layers` that follow. Three layers see
            patches of 70 x 70 pixels.
    """

    def __init__(self, *, width: int, layers: int) -> None:
        from monai.networks.nets import PatchDiscriminator

        super().__init__()
        self.net = PatchDiscriminator(spatial_dims=2, channels=width, in_channels=1, num_layers_d=layers, norm=None)
        for module in self.net.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()

    def forward(self, image: Tensor) -> Tensor:
        real: Tensor = self.net(2 * image - 1)[-1]
        return real
