"""Where the tissues of a reference volume are, three ways, and the mean intensity of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from harmony.core import DataError, Volume
from harmony.scanner.clusters import intensity_clusters
from harmony.scanner.contrast import (
    FIELD_TERMS,
    FLOOR,
    TissueIntensity,
    brain_box,
    cubic,
    fit_contrast,
    places,
)
from harmony.scanner.inversion import MapNetwork, network_input

Labelling = Callable[[Volume], Tensor]
"""Volume -> (S, H, W) tissues 1 .. K of its brain."""

SPREAD_EVERY = 8  # of the volumes that the spread of the tissues is taken from
FIRST_SPREAD = 0.2  # of the log intensity, before any was measured


def given_labels(volume: Volume) -> Tensor:
    """The labels that come with the scan. Raises DataError where there are none."""
    if volume.labels is None:
        raise DataError(
            "the tissue network is trained on tissue labels, and this scan has none",
            cure="set data.labels=, or tasks.tissue.module.clusters=true",
            path=volume.scan.path,
            subject=volume.scan.subject,
        )
    return volume.labels


def cluster_labels(tissues: int) -> Labelling:
    """Clusters of the volume's own intensities: for scans without labels, before there is a network."""
    return lambda volume: intensity_clusters(volume.image, volume.mask, tissues)


def network_labels(network: MapNetwork) -> Labelling:
    """What a trained network takes each voxel for: for scans without labels, of any scanner that it finds tissue in."""

    def label(volume: Volume) -> Tensor:
        with torch.no_grad():
            logits = network(network_input(volume.image, volume.image, volume.mask)[None])[0]
        return torch.where(volume.mask, logits.argmax(0) + 1, 0)

    return label


def learn_intensity(volumes: Sequence[Volume], labelling: Labelling, tissues: int) -> TissueIntensity:
    """log E_k(r) by least squares over the voxels of all volumes that are tissue k; the spread is the mean of fits."""
    terms = FIELD_TERMS + 1
    normal, right = torch.zeros(tissues, terms, terms).double(), torch.zeros(tissues, terms).double()
    labels = [labelling(volume) for volume in volumes]
    for volume, tissue in zip(volumes, labels, strict=True):
        terms_at = cubic(places(brain_box(volume.mask), volume.mask.nonzero())).double()
        values = volume.image[volume.mask].clamp(min=FLOOR).log().double()
        for k in range(tissues):
            own = tissue[volume.mask] == k + 1
            design = terms_at[own]
            normal[k] += design.T @ design
            right[k] += design.T @ values[own]
    ridge = 1e-3 * torch.eye(terms).double()
    coefficients = torch.linalg.solve(normal + ridge, right[..., None])[..., 0].float()
    expected = TissueIntensity(coefficients, torch.full((tissues,), FIRST_SPREAD))
    some = list(zip(volumes, labels, strict=True))[::SPREAD_EVERY]
    return TissueIntensity(coefficients, torch.stack([_spread(*each, expected) for each in some]).mean(0))


def _spread(volume: Volume, labels: Tensor, expected: TissueIntensity) -> Tensor:
    maps = one_hot(labels, len(expected.spread))[:, volume.mask]
    at = places(brain_box(volume.mask), volume.mask.nonzero())
    return fit_contrast(volume.image[volume.mask], maps, at, expected).spread


def one_hot(labels: Tensor, tissues: int) -> Tensor:
    """(S, H, W) 1 .. K, 0 for none -> (K, S, H, W)."""
    return torch.stack([labels == k for k in range(1, tissues + 1)]).float()
