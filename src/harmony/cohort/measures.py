"""What is measured of one scan, before and after: how much there is of each tissue, and how bright it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harmony.core import DataError, Volume
from harmony.scanner import MapNetwork, network_input

SURE = 0.9  # probability of a tissue from where a voxel says how bright the tissue is
FEWEST = 100  # voxels of each tissue: a brain has thousands at 4 mm
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)  # of the intensities, in units of the white matter
BINS, SPAN = 48, (0.0, 1.6)  # of the histogram, in units of the white matter
BRIGHTNESS = ("contrast_gm_wm", "contrast_csf_wm")
VOLUMES = ("volume_csf_ml", "volume_gm_ml", "volume_wm_ml")


@dataclass(frozen=True)
class Measured:
    """values: by metric. histogram: (BINS,) shares of the brain's voxels, in bins of equal width over SPAN."""

    values: dict[str, float]
    histogram: list[float]


@torch.no_grad()
def measure(volume: Volume, network: MapNetwork) -> Measured:
    """Of a volume of a whole brain, by tissue maps p of the network: csf first, wm last, and between them gm, of one
    kind or several, the cortex first:

    volume_X_ml: sum of p over the voxels, in ml; volume_brain_ml: of the mask.
    contrast_X_wm: median intensity of tissue X (of gm, the cortex) over that of white matter, of voxels that are X with
        more than `SURE`.
    spread_wm: half the width of the middle 68 % of white matter's intensities over their median: shading, noise, edges.
    quantile_Q: Q % quantile of the brain's intensities over the median of white matter.

    Raises DataError where a tissue is not there.
    """
    image, mask = volume.image, volume.mask
    maps = network(network_input(image, image, mask)[None])[0].softmax(0)
    inside = maps[:, mask]
    values = image[mask]
    shares = torch.stack((inside[0], inside[1:-1].sum(0), inside[-1]))
    csf, gm, wm = (_bright(values, inside[k], volume) for k in (0, 1, -1))
    white, sides = wm.median(), torch.from_numpy(volume.affine[:3, :3])
    millilitre = float(torch.linalg.det(sides).abs()) / 1000
    low, high = wm.quantile(torch.tensor([0.16, 0.84]))
    counts = torch.histc((values / white).clamp(*SPAN), BINS, *SPAN)
    metrics = {
        **{name: float(part.sum()) * millilitre for name, part in zip(VOLUMES, shares, strict=True)},
        "volume_brain_ml": int(mask.sum()) * millilitre,
        "contrast_gm_wm": float(gm.median() / white),
        "contrast_csf_wm": float(csf.median() / white),
        "spread_wm": float((high - low) / 2 / white),
        **{f"quantile_{round(100 * at)}": float(_quantile(values, at) / white) for at in QUANTILES},
    }
    return Measured(metrics, (counts / len(values)).tolist())


def _bright(values: Tensor, probability: Tensor, volume: Volume) -> Tensor:
    """(N,) the intensities of voxels that surely are the tissue."""
    sure = values[probability > SURE]
    if len(sure) < FEWEST or sure.median() <= 0:
        raise DataError(
            "hardly any fluid, grey or white matter in it",
            cure="leave the scan out: it may be a slab, another contrast, or no head",
            path=volume.scan.path,
            subject=volume.scan.subject,
        )
    return sure


def _quantile(values: Tensor, at: float) -> Tensor:
    """The smallest value that a share `at` of the values does not exceed. (torch.quantile refuses many values.)"""
    return values.kthvalue(max(1, round(at * len(values)))).values
