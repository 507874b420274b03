"""A density over images in [0, 1]: an invertible transform, a standard normal base, and honest dequantization."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from nflows.transforms import Transform
from torch import Tensor, nn

from harmony.core.group import rows_of_batch
from harmony.flows.dequantization import Dequantization, UniformDequantization, draw_noise


class Encoded(NamedTuple):
    """z: (B, 1, H, W), the latent image. logabsdet: (B,) nats, log |det dz/dimage|."""

    z: Tensor
    logabsdet: Tensor


class ImageDensity(nn.Module):
    """p(image) = N(f(y); 0, I) |det df/dimage|,  y = (v + 1/2) / L - 1/2,  v = image (L - 1),  L = 2^bits grey levels.

    Readings of the same flow:

    - `encode` and `decode` are continuous: no rounding, no noise, exactly inverse to each other and differentiable.
      What an optimiser moves an image with: `|f(x)|^2 = encode(x).z.square().flatten(1).sum(1)`.
    - `log_prob` and `bits_per_dim` score the image as grey levels: rounded, dequantized, comparable across models of
      the same bit depth. `relaxed_bits_per_dim` leaves out the rounding.

    Args:
        transform: shape-preserving map (B, 1, H, W) -> (B, 1, H, W), log |det| (B,); inputs in [-0.5, 0.5].
        levels: how often the transform halves the image; H and W must be divisible by 2^levels.
        bits: bit depth of the grey levels, 8 to 16.
        seed: of the noise field that `log_prob` uses when it gets no generator.
        dequantization: noise within a grey level; uniform when None.
    """

    def __init__(
        self,
        transform: Transform,
        *,
        levels: int,
        bits: int,
        seed: int,
        dequantization: Dequantization | None = None,
    ) -> None:
        if not 8 <= bits <= 16:
            raise ValueError(f"bits must be between 8 and 16, got {bits}")
        super().__init__()
        self.transform = transform
        self.dequantization = UniformDequantization() if dequantization is None else dequantization
        self.levels, self.bits, self.seed = levels, bits, seed

    @property
    def grey_levels(self) -> int:
        """L = 2^bits."""
        return 2**self.bits

    def encode(self, image: Tensor) -> Encoded:
        """z = f(y) with every pixel at the centre of its bin; the log-determinant includes image -> y."""
        self._check(image)
        y = (image * (self.grey_levels - 1) + 0.5) / self.grey_levels - 0.5
        z, logabsdet = self._forward(y)
        scale = math.log((self.grey_levels - 1) / self.grey_levels)
        return Encoded(z, logabsdet + _dimensions(image) * scale)

    def decode(self, z: Tensor) -> Tensor:
        """The image whose latent is z, exactly: it may leave [0, 1]."""
        self._check(z)
        with torch.autocast(z.device.type, enabled=False):
            y, _ = self.transform.inverse(z)
        return ((y + 0.5) * self.grey_levels - 0.5) / (self.grey_levels - 1)

    def log_prob(
        self, image: Tensor, generator: torch.Generator | None = None, noise_of: Tensor | None = None
    ) -> Tensor:
        """(B,) nats: log N(f(y)) + log |det df/dy| - D log L - log q(u),  y = (round(v) + u) / L - 1/2.

        A lower bound (in expectation over u) of the log-probability of the rounded grey levels. Rounding passes the
        gradient straight through.

        Args:
            image: (B, 1, H, W) in [0, 1].
            generator: on the CPU; draws fresh noise for every image (training). Without it every image gets the one
                noise field of `seed`, so the value does not depend on the batch, its order, or the call.
            noise_of: (B,) the row of the batch whose fresh noise each image gets, so that two images of a pair differ
                by themselves alone; None: each its own.
        """
        self._check(image)
        return self._dequantized_log_prob(_round_straight_through(image * (self.grey_levels - 1)), generator, noise_of)

    def bits_per_dim(
        self, image: Tensor, generator: torch.Generator | None = None, noise_of: Tensor | None = None
    ) -> Tensor:
        """(B,) bits per pixel: -log_prob / (D ln 2). Smaller is likelier; `bits` is what uniform grey levels cost."""
        return -self.log_prob(image, generator, noise_of) / (_dimensions(image) * math.log(2))

    def relaxed_bits_per_dim(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """(B,) bits per pixel as of `bits_per_dim`, but of the image's own levels, not rounded: smooth in the image.

        What an adaptation descends. The straight-through gradient of a rounded image is not the
        gradient of any function.
        """
        self._check(image)
        log_prob = self._dequantized_log_prob(image * (self.grey_levels - 1), generator)
        return -log_prob / (_dimensions(image) * math.log(2))

    def encoded_bits_per_dim(self, encoded: Encoded) -> Tensor:
        """(B,) bits per pixel of an image whose encoding is at hand, read at the centre of its bins.

        With p the density over [0, 1] and 1 / (L - 1) the width of a grey level: -log2 p(image) / D + log2(L - 1).
        """
        log_density = standard_normal_log_prob(encoded.z) + encoded.logabsdet
        return -log_density / (_dimensions(encoded.z) * math.log(2)) + math.log2(self.grey_levels - 1)

    @torch.no_grad()
    def sample(self, count: int, height: int, width: int, temperature: float, generator: torch.Generator) -> Tensor:
        """(count, 1, height, width) in [0, 1]: decode(temperature * noise), clipped. The generator is on the CPU."""
        like = next(self.parameters())
        z = torch.randn(count, 1, height, width, generator=generator, dtype=torch.float32).to(like)
        return self.decode(temperature * z).clamp(0, 1)

    def _forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        # Half precision would break the inverse; a conditioner that wants it asks for it itself.
        with torch.autocast(y.device.type, enabled=False):
            return self.transform(y)

    def _dequantized_log_prob(
        self, level: Tensor, generator: torch.Generator | None, noise_of: Tensor | None = None
    ) -> Tensor:
        """(B,) nats of levels 0..L-1 with noise added."""
        noise = self._noise(level, generator)
        noise = noise if noise_of is None else noise[noise_of]
        u, log_q = self.dequantization(level / (self.grey_levels - 1), noise)
        z, logabsdet = self._forward((level + u) / self.grey_levels - 0.5)
        return standard_normal_log_prob(z) + logabsdet - _dimensions(level) * math.log(self.grey_levels) - log_q

    def _noise(self, image: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is not None:
            count, mine = rows_of_batch(len(image))
            return draw_noise((count, *image.shape[1:]), image, generator)[mine]
        field = draw_noise((1, *image.shape[1:]), image, torch.Generator().manual_seed(self.seed))
        return field.expand_as(image)

    def _check(self, image: Tensor) -> None:
        if image.dim() != 4 or image.shape[1] != 1:
            raise ValueError(f"expected (B, 1, H, W), got {tuple(image.shape)}")
        height, width = image.shape[2:]
        unit = 2**self.levels
        if height % unit or width % unit:
            good = f"{math.ceil(height / unit) * unit}x{math.ceil(width / unit) * unit}"
            raise ValueError(
                f"a flow of {self.levels} levels needs height and width divisible by {unit}, got {height}x{width}: "
                f"pad the slices to {good}"
            )


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """(B,) nats: log N(z; 0, I) = -|z|^2 / 2 - D/2 log(2 pi), summed over everything but the batch."""
    return -0.5 * z.square().flatten(1).sum(1) - 0.5 * z[0].numel() * math.log(2 * math.pi)


def _dimensions(image: Tensor) -> int:
    """D, the number of pixels of one image."""
    return math.prod(image.shape[1:])


def _round_straight_through(v: Tensor) -> Tensor:
    """round(v), with the gradient of v. Written so that the value is the rounded one to the last bit."""
    return v.detach().round() + (v - v.detach())
