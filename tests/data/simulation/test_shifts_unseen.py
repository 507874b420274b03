"""Scanners of kinds that nothing is trained on: each obeys the physics it is named after."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from phantoms import volume_of
from scipy import ndimage

from harmony.data import query_scanner
from harmony.data.simulation.shifts_unseen import UNSEEN, displacement

STRENGTHS = {"ghost": 0.15, "gibbs": 0.6, "thick": 12.0, "coil": 0.3, "warp": 5.0, "reorder": 0.6}
RNG = np.random.default_rng


def made(kind, strength=None, volume=None, percentile=99.5):
    strength = STRENGTHS[kind] if strength is None else strength
    return query_scanner(kind, kind=kind, strength=strength, seed=0, percentile=percentile)(volume or volume_of())


def applied(kind, image, strength, volume=None):
    """The law itself, before the scale and the mask."""
    return UNSEEN[kind](image, volume or volume_of(), strength, RNG(0))


def point(volume, index):
    image = torch.zeros(volume.mask.shape)
    image[index] = 1.0
    return image


def test_every_kind_has_its_laws_here():
    assert set(UNSEEN) == set(STRENGTHS)


@pytest.mark.parametrize("kind", UNSEEN)
def test_strength_zero_changes_nothing(kind):
    volume = volume_of()
    assert torch.equal(made(kind, 0.0).image, volume.image)
    neutral = applied(kind, volume.image, 1e-9, volume)
    torch.testing.assert_close(neutral[volume.mask], volume.image[volume.mask], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", UNSEEN)
def test_a_volume_in_range_with_the_truths_mask_and_labels_and_the_same_every_time(kind):
    volume = volume_of()
    before = volume.image.clone()
    out = made(kind)
    assert torch.equal(volume.image, before)
    assert torch.equal(out.mask, volume.mask)
    assert torch.equal(out.labels, volume.labels)
    assert out.image.dtype == torch.float32
    assert out.image.isfinite().all()
    assert out.image[~volume.mask].abs().max() == 0
    assert 0 <= out.image.min() < out.image.max() <= 1
    assert (out.image - volume.image)[volume.mask].abs().mean() > 0.005
    assert torch.equal(made(kind).image, out.image)
    assert torch.equal(made(kind, volume=volume_of(subject="sub-02")).image, out.image)  # a scanner, not a scan


@pytest.mark.parametrize("kind", UNSEEN)
def test_it_does_not_depend_on_the_slice_axis(kind):
    axial, sagittal = (made(kind, volume=volume_of(axis=axis)).image for axis in ("axial", "sagittal"))
    inner = volume_of(axis="sagittal").mask.numpy()
    if kind == "warp":  # at the rim one of several nearest voxels is taken
        inner = ndimage.binary_erosion(inner, iterations=4)
    torch.testing.assert_close(axial.permute(1, 2, 0)[inner], sagittal[inner], atol=1e-3, rtol=0)


def test_the_ghost_of_a_point_is_half_a_picture_away_along_the_phase_encoding():
    volume = volume_of()  # slices (S, H, W): right along H, anterior along W
    width = volume.mask.shape[2]
    out = applied("ghost", point(volume, (10, 12, 5)), 0.2, volume)
    assert out[10, 12, 5].item() == pytest.approx(0.8, abs=1e-5)
    assert out[10, 12, 5 + width // 2].item() == pytest.approx(0.2, abs=1e-5)
    out[10, 12, [5, 5 + width // 2]] = 0
    assert out.abs().max() < 1e-5


def test_ringing_keeps_the_mean_and_what_is_smooth_and_overshoots_an_edge_by_nine_percent():
    volume = volume_of()
    step = torch.zeros(volume.mask.shape)
    step[:, :, 10:28] = 1.0
    out = applied("gibbs", step + 0.5, 0.5, volume)  # lifted: the magnitude has nothing to turn round
    assert out.mean().item() == pytest.approx((step + 0.5).mean().item(), abs=1e-5)
    assert out.max().item() - 1.5 == pytest.approx(0.09, abs=0.05)
    wave = 2 + torch.cos(2 * torch.pi * 2 * torch.arange(volume.mask.shape[2]) / volume.mask.shape[2])
    wave = wave.expand(volume.mask.shape)
    torch.testing.assert_close(applied("gibbs", wave, 0.5, volume), wave, atol=1e-5, rtol=0)


def test_thick_slices_are_means_along_the_axis_and_lines_between_them():
    volume = volume_of()
    full = replace(volume, mask=torch.ones_like(volume.mask))
    depth = full.mask.shape[0]
    ramp = torch.arange(depth).float()[:, None, None].expand(full.mask.shape)
    out = applied("thick", ramp, 12.0, full)  # six slices of 2 mm
    inner = slice(6, depth - 6)
    torch.testing.assert_close(out[inner], ramp[inner], atol=1e-5, rtol=0)  # a line stays a line
    alternating = (torch.arange(depth) % 2).float()[:, None, None].expand(full.mask.shape)
    assert applied("thick", alternating, 8.0, full).std() < 1e-6
    flat = torch.where(volume.mask, 0.5, 0.0)
    torch.testing.assert_close(applied("thick", flat, 12.0, volume)[volume.mask], flat[volume.mask])  # no dark rim


def test_the_coils_field_is_of_high_order_and_belongs_to_the_scanner():
    volume = volume_of()
    flat = torch.where(volume.mask, 0.5, 0.0)
    field = (applied("coil", flat, 0.5, volume) / 0.5).log()[volume.mask] / 0.5
    assert -1 <= field.min() < field.max() <= 1
    assert field.std() > 0.05
    affine = volume.affine.copy()
    affine[:3, :3] *= 3.5  # the same grid over a head of 20 cm
    head = replace(volume, affine=affine, mask=torch.ones_like(volume.mask))
    field = applied("coil", torch.full(head.mask.shape, 0.5), 0.5, head).log()
    place = np.moveaxis(np.indices(head.mask.shape), 0, -1).reshape(-1, 3) / np.array(head.mask.shape)
    terms = np.stack([np.prod(place ** np.array(k), 1) for k in np.ndindex(4, 4, 4) if sum(k) <= 3], 1)
    values = field.flatten().double().numpy()
    rest = values - terms @ np.linalg.lstsq(terms, values, rcond=None)[0]
    assert rest.std() > 0.1 * values.std()  # the cubic that `bias` is does not explain it


@pytest.mark.parametrize("seed", range(4))
def test_a_warp_is_bounded_invertible_and_rests_at_the_isocentre(seed):
    axis = np.linspace(-90, 90, 25)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    u = displacement(grid, 5.0, RNG(seed))
    inside = (grid**2).sum(-1) <= 90**2
    assert np.linalg.norm(u, axis=-1)[inside].max() <= 5.0 * 1.02
    gradient = np.stack([np.stack(np.gradient(u[..., k], *3 * (axis[1] - axis[0],)), -1) for k in range(3)], -2)
    assert (np.linalg.det(np.eye(3) + gradient)[inside] > 0.3).all()  # nothing folds
    assert np.abs(displacement(np.zeros((1, 3)), 5.0, RNG(seed))).max() == 0
    near = displacement(np.full((1, 3), 1.0), 5.0, RNG(seed))
    assert np.abs(near).max() < 0.01  # no shift and no scale there
    torch.testing.assert_close(displacement(grid, 10.0, RNG(seed)), 2 * u)


def test_a_warp_moves_what_is_shown_by_its_displacement():
    """A line along x shows at r the x of where it came from: x + u_x(r)."""
    volume = volume_of()
    index = np.moveaxis(np.indices(volume.mask.shape), 0, -1)
    inside = np.argwhere(volume.mask.numpy())
    place = (index - (inside.min(0) + inside.max(0)) / 2) @ volume.affine[:3, :3].T
    line = torch.from_numpy(100.0 + place[..., 0])
    full = replace(volume, mask=torch.ones_like(volume.mask))
    out = applied("warp", line, 5.0, full)
    box = (np.array(volume.mask.shape) - 1) / 2
    moved = (index - box) @ volume.affine[:3, :3].T
    expected = line + torch.from_numpy(displacement(moved, 5.0, RNG(0))[..., 0])
    core = (slice(3, -3),) * 3
    torch.testing.assert_close(out[core], expected[core], atol=0.02, rtol=0)


def test_reordering_makes_grey_matter_brighter_than_white_and_leaves_the_dark_alone():
    csf, grey, white = torch.tensor([0.25]), torch.tensor([0.6]), torch.tensor([0.9])
    order = lambda x: applied("reorder", x, 0.6)  # noqa: E731
    assert order(csf) == csf
    assert order(grey) > order(white) > order(csf)
    assert applied("reorder", white, 1.0).item() == pytest.approx(0.3)  # mirrored at 0.6
