"""Phantoms whose tissues and scanner are known, a map network of one line, and what is known of their scanner."""

import functools
from dataclasses import replace

import torch
from torch.nn import functional as F

from harmony.core import Stack, Volume
from harmony.core.manifest import Scan
from harmony.core.measures import robust_maximum
from harmony.core.reference import Reference
from harmony.scanner import (
    CELLS,
    FIELD_TERMS,
    Contrast,
    Prior,
    TextureModel,
    TissueIntensity,
    Untouched,
    brain_box,
    estimate,
    gaussian_inside,
    learn_texture,
    learn_untouched,
    texture,
)

TISSUES = ("csf", "grey", "white")
LEVELS = torch.tensor([0.35, 0.7, 1.0])
SIZE = (26, 32, 40)


def neutral_prior(tissues=TISSUES, frequencies=16, levels=None):
    """Nothing was learned for it: tissues of rising intensity, no blur or noise, nothing ever untouched."""
    count = len(tissues)
    size = count + FIELD_TERMS
    evidence = size + count + 2
    levels = torch.linspace(0.3, 0.8, count) if levels is None else levels
    nothing = Untouched(torch.zeros(evidence), torch.eye(evidence), torch.tensor(1e-6))
    return Prior(
        tissues=tuple(tissues),
        expected=TissueIntensity(F.pad(levels.log()[:, None], (0, FIELD_TERMS)), torch.full((count,), 0.2)),
        spectrum=torch.logspace(4, -3, frequencies),
        texture=TextureModel(
            torch.full((CELLS**3,), -6.0), torch.full((CELLS**3,), 0.2), torch.tensor(0.3), torch.tensor(0.03)
        ),
        own=torch.zeros(size),
        own_covariance=1e-3 * torch.eye(size),
        scanners=torch.full((size,), 0.01),
        raw=nothing,
        matched=nothing,
        even=torch.zeros(count),
        even_covariance=1e-6 * torch.eye(count),
    )


def flat_prior():
    """Of phantoms: their levels, everywhere the same."""
    prior = neutral_prior(levels=LEVELS)
    expected = TissueIntensity(prior.expected.coefficients, torch.full((3,), 0.05))
    return replace(prior, expected=expected, own_covariance=1e-9 * torch.eye(22))


def by_intensity(volume, levels=LEVELS):
    """In the place of a map network: each voxel alone, by its distance to each tissue. It knows no direction."""
    distance = volume[:, :1].clamp(min=1e-3).log() - levels.log().view(-1, 1, 1, 1)
    return -0.5 * (distance / 0.07).square()


def phantom(seed=0, texture=0.01, levels=LEVELS):
    """Nested tissues in an ellipsoid: image (S, H, W), mask, maps (K, S, H, W)."""
    axes = [torch.linspace(-1.1, 1.1, n) for n in SIZE]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    radius = (z**2 + y**2 + x**2).sqrt() + 0.05 * torch.sin(9 * x) * torch.cos(7 * y)
    mask = z**2 + y**2 + x**2 < 1
    tissue = sum((radius < edge).int() for edge in (0.85, 0.6, 0.4)[: len(levels) - 1])
    maps = torch.stack([(tissue == k) & mask for k in range(len(levels))]).float()
    noise = torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))
    image = torch.where(mask, levels[tissue.long()] * (texture * noise).exp(), 0)
    return (image / robust_maximum(image, mask, 99.5)).clamp(max=1), mask, maps


def blurred(image, mask, width):
    return gaussian_inside(image, mask, torch.full((3,), width)), mask


def scanner(strength=1.0):
    field = torch.randn(19, generator=torch.Generator().manual_seed(5))
    return Contrast(strength * torch.tensor([0.04, 0.08, -0.06]), strength * 0.015 * field)


def scanned(image, mask, maps, contrast):
    return torch.where(mask, image * (maps * contrast.log_over(brain_box(mask)).exp()).sum(0), 0)


def stack(image, mask):
    return Stack(image[:, None], mask[:, None], torch.linspace(0, 1, len(image)), (2.0, 2.0, 2.0))


def volume(image, mask, labels=None, name="1"):
    scan = Scan(f"{name}.nii", f"sub-{name}")
    return Volume(scan, image, mask, labels, torch.diag(torch.tensor([2.0, 2, 2, 1])).double().numpy(), 1.0)


def labelled(seed, levels=LEVELS):
    """A phantom as a volume with its labels 1 .. K."""
    image, mask, maps = phantom(seed, levels=levels)
    return volume(image, mask, torch.where(mask, maps.argmax(0) + 1, 0).to(torch.int16), str(seed))


def histograms(*volumes):
    return Reference.of(volumes or [volume(*phantom()[:2])], positions=8, quantiles=256)


@functools.cache
def learned_prior(blur=0.0):
    """Of 12 untouched phantoms, of a scanner that blurs by so many voxels; none has gains or shading of its own."""
    phantoms = [blurred(*phantom(seed)[:2], blur) for seed in range(1, 13)]
    prior = replace(flat_prior(), texture=learn_texture([texture(*each) for each in phantoms], 1.1))
    scans = [estimate(*each, by_intensity, prior) for each in phantoms]
    own = torch.stack([scan.fit.contrast.theta for scan in scans]).mean(0)
    return replace(prior, raw=learn_untouched(scans, 1.5), own=own)


PRIORS = {"tissue/prior": neutral_prior()}  # beside the untrained networks of a config
