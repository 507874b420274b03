"""Tissues of reference volumes: labels, or clusters where there are none; and the mean intensity of each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harmony.core import DataError, Volume
from harmony.networks import TissueNet
from harmony.scanner import (
    brain_box,
    cubic,
    fit_contrast,
    intensity_clusters,
    mean_spectrum,
    places,
)


def learn_reference(network: TissueNet, volumes: Sequence[Volume], *, clusters: bool) -> None:
    """What needs no gradient, from untouched reference volumes: log E_k(r) by least squares, and the mean spectrum."""
    tissues, terms = network.expected_coefficients.shape
    normal, right, squares = torch.zeros(tissues, terms, terms).double(), torch.zeros(tissues, terms).double(), []
    found = [tissue_labels(volume, tissues, clusters=clusters) for volume in volumes]
    for volume, labels in zip(volumes, found, strict=True):
        terms_at = cubic(places(brain_box(volume.mask), volume.mask.nonzero())).double()
        values = volume.image[volume.mask].clamp(min=0.01).log().double()
        for k in range(tissues):
            own = labels[volume.mask] == k + 1
            design = terms_at[own]
            normal[k] += design.T @ design
            right[k] += design.T @ values[own]
        squares.append(mean_spectrum(volume.image, volume.mask, len(network.spectrum)).log())
    ridge = 1e-3 * torch.eye(terms).double()
    coefficients = torch.linalg.solve(normal + ridge, right[..., None])[..., 0].float()
    network.expected_coefficients.copy_(coefficients)
    network.spectrum.copy_(torch.stack(squares).mean(0).exp())
    expected = network.prior.expected
    spreads = []
    for volume, labels in zip(volumes[::8], found[::8], strict=True):
        maps = one_hot(labels, tissues)[:, volume.mask]
        at = places(brain_box(volume.mask), volume.mask.nonzero())
        spreads.append(fit_contrast(volume.image[volume.mask], maps, at, expected).spread)
    network.expected_spread.copy_(torch.stack(spreads).mean(0))


def tissue_labels(volume: Volume, tissues: int, *, clusters: bool) -> Tensor:
    """(S, H, W) 1 .. K. Raises DataError where labels are wanted and there are none."""
    if clusters:
        return intensity_clusters(volume.image, volume.mask, tissues)
    if volume.labels is None:
        raise DataError(
            "the tissue network is trained on tissue labels, and this scan has none",
            cure="set data.labels=, or tasks.tissue.module.clusters=true",
            path=volume.scan.path,
            subject=volume.scan.subject,
        )
    return volume.labels


def one_hot(labels: Tensor, tissues: int) -> Tensor:
    """(S, H, W) 1 .. K, 0 for none -> (K, S, H, W)."""
    return torch.stack([labels == k for k in range(1, tissues + 1)]).float()
