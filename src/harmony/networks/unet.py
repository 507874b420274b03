"""A 2-D U-Net for slices of any size: segmentation (logits) or image-to-image regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F


class AnySizeUNet(nn.Module):
    """(B, in_channels, H, W) -> (B, out_channels, H, W): zero-padded to what `net` can halve, and cropped back."""

    def __init__(self, net: nn.Module, *, divisor: int) -> None:
        super().__init__()
        self.net, self.divisor = net, divisor

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, -width % self.divisor, 0, -height % self.divisor))  # where the background is anyway
        out: Tensor = self.net(padded)[..., :height, :width]
        return out


def segmentation_unet(
    *,
    in_channels: int,
    out_channels: int,
    widths: Sequence[int],
    residual_units: int,
    norm: Literal["batch", "instance"],
) -> AnySizeUNet:
    """MONAI's residual U-Net (Kerfoot et al. 2018), one resolution per width.

    Args:
        in_channels: 1 for a slice, more with its neighbours or other inputs.
        out_channels: classes with the background first (logits), or channels of a regression.
        residual_units: convolutions per stage.
        norm: with a learned scale and shift either way, which test-time adaptation (TENT) may move; "batch" keeps
            running statistics of the reference domain, "instance" takes those of the slice itself.
    """
    from monai.networks.nets import UNet

    net = UNet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=widths,
        strides=(2,) * (len(widths) - 1),
        num_res_units=residual_units,
        norm=(norm, {"affine": True}),
    )
    return AnySizeUNet(net, divisor=2 ** (len(widths) - 1))
