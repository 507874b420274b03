"""Random scanners for whole volumes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from harmony.core.measures import robust_maximum
from harmony.data import ScannerCorruption
from harmony.data.simulation.scanner_corruption import shading
from harmony.scanner import FIELD_TERMS, Resolution, brain_box, cubic, field_scale, rough_field

ALL = {
    "curve": 1.0, "gamma": (0.6, 1.6), "gain": 0.2, "shading": 0.25, "blur": 1.0, "anisotropy": 0.1, "noise": 0.05,
    "probability": 1.0, "percentile": 99.5,
}  # fmt: skip
MASK = torch.zeros(12, 16, 16, dtype=torch.bool)
MASK[1:-1, 2:-2, 2:-2] = True
IMAGE = torch.where(MASK, torch.linspace(0.1, 1, 16).expand(12, 16, 16), 0)
MAPS = torch.stack([MASK & (IMAGE < 0.4), MASK & (IMAGE >= 0.4) & (IMAGE < 0.7), MASK & (IMAGE >= 0.7)]).float()


def seen(seed=0, **changes):
    corruption = ScannerCorruption(**(ALL | changes))
    drawn = corruption.draw(3, torch.Generator().manual_seed(seed))
    return corruption.replay(IMAGE, MASK, MAPS, drawn, 2.0)[:2], drawn


def test_a_scanner_of_no_strength_changes_nothing():
    (image, resolution), _ = seen(probability=0.0, curve=0.0)
    assert not resolution.width.any()
    torch.testing.assert_close(image, IMAGE)


@pytest.mark.parametrize("changes", [{"shading": 0.25}, {"gain": 0.3}, {"curve": 1.0}, {"blur": 1.0}])
def test_a_slab_is_seen_as_the_volume_that_it_is_of(changes):
    """Its shading is that of its place, and its scale that of the volume: dark slices stay dark."""
    plain = {"blur": 0.0, "noise": 0.0, "curve": 0.0, "gain": 0.0, "shading": 0.0, "probability": 1.0}
    corruption, cut = ScannerCorruption(**(ALL | plain | changes)), slice(2, 8)
    drawn = corruption.draw(3, torch.Generator().manual_seed(0))
    dim = torch.where(torch.arange(12)[:, None, None] < 8, 0.3, 0.9) * MASK
    whole = corruption.replay(dim, MASK, MAPS, drawn, 2.0).image
    part = corruption.replay(dim, MASK, MAPS, drawn, 2.0, cut).image
    inside = MASK[cut].clone()
    inside[-3:] = False  # what a blur brings in from beyond the slab
    torch.testing.assert_close(part[inside], whole[cut][inside], atol=0.01, rtol=0.05)


@pytest.mark.parametrize("changes", [{"gain": 0.3}, {"curve": 1.0}])
def test_the_brightest_of_a_volume_is_as_bright_as_before(changes):
    plain = {"blur": 0.0, "noise": 0.0, "curve": 0.0, "gain": 0.0, "shading": 0.0}
    corruption = ScannerCorruption(**(ALL | plain | changes))
    image, mask, *maps = (np.kron(each, np.ones((3, 3, 3))) for each in (IMAGE, MASK, *MAPS))  # a finer grid
    image, mask, maps = (
        torch.from_numpy(image).float(),
        torch.from_numpy(mask) > 0,
        torch.tensor(np.stack(maps)).float(),
    )
    for seed in range(5):
        drawn = corruption.draw(3, torch.Generator().manual_seed(seed))
        made = corruption.replay(image, mask, maps, drawn, 2.0).image
        top, before = (robust_maximum(each, mask, ALL["percentile"]) for each in (made, image))
        assert top == pytest.approx(before, rel=0.05)


def test_a_scanner_is_replayed_exactly_and_another_draw_is_another_scanner():
    (image, _), _ = seen(3)
    assert torch.equal(image, seen(3)[0][0])
    assert not torch.equal(image, seen(4)[0][0])
    assert (image[~MASK] == 0).all()
    assert image.min() >= 0
    assert image.max() <= 1


def test_noise_is_told_in_units_of_the_image():
    (image, resolution), drawn = seen(1, curve=0.0, gain=0.0, shading=0.0, blur=0.0)
    clean = IMAGE / IMAGE[MASK].max() * float((image / IMAGE.clamp(min=1e-3))[MASK & (IMAGE > 0.5)].median())
    spread = (image - clean)[MASK & (IMAGE > 0.5) & (IMAGE < 0.8)].std()
    assert abs(float(spread / resolution.noise) - 1) < 0.25
    assert resolution.noise != drawn.resolution.noise


def test_no_direction_of_the_shading_is_favoured():
    places = 2 * torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)) - 1
    torch.testing.assert_close(cubic(places)[:, 1:].square().mean(0).sqrt(), field_scale(), atol=0.02, rtol=0.03)
    field = torch.zeros(FIELD_TERMS)
    field[2] = 1.0
    assert shading(brain_box(MASK), field).std() > 0


def test_a_tissue_is_brighter_by_its_own_gain():
    """In the middle of each, where the maps' smoothing brings in no other; the scale is that of the whole scan."""
    corruption = ScannerCorruption(**ALL)
    drawn = corruption.draw(3, torch.Generator().manual_seed(0))
    drawn = replace(
        drawn, gamma=1.0, table=torch.linspace(0, 1, len(drawn.table)), log_gains=torch.tensor([-0.6, 0.0, 0.5]),
        field=torch.zeros(FIELD_TERMS), resolution=Resolution(torch.zeros(3), torch.tensor(0.0)),
    )  # fmt: skip
    dark = 0.4 * IMAGE
    made = corruption.replay(dark, MASK, MAPS, drawn, 8.0).image  # voxels that the smoothing is small in
    middles = [torch.where(own.any(0).any(0))[0].float().mean().round().int() for own in MAPS > 0]
    csf, grey, white = (float((made / dark.clamp(min=1e-6))[6, 8, column]) for column in middles)
    assert csf / grey == pytest.approx(math.exp(-0.6), rel=0.02)
    assert white / grey == pytest.approx(math.exp(0.5), rel=0.02)


def test_coils_shade_half_of_the_scans_and_change_no_other_draw():
    without, with_ = (ScannerCorruption(**ALL, coils=largest) for largest in (0.0, 1.0))
    coiled = []
    for seed in range(60):
        plain, drawn = (c.draw(3, torch.Generator().manual_seed(seed)) for c in (without, with_))
        assert plain.coils is None
        assert torch.equal(plain.field, drawn.field)
        assert plain.seed == drawn.seed
        coiled.append(drawn.coils is not None)
    assert 18 <= sum(coiled) <= 42


def test_the_shading_of_coils_is_a_factor():
    still = {"curve": 0.0, "gain": 0.0, "shading": 0.0, "blur": 0.0, "noise": 0.0}
    corruption = ScannerCorruption(**(ALL | still), coils=1.0)
    drawn = next(d for d in (corruption.draw(3, torch.Generator().manual_seed(s)) for s in range(20)) if d.coils)
    made = corruption.replay(0.2 * IMAGE, MASK, MAPS, drawn, 2.0)
    wanted = 0.2 * IMAGE * drawn.coils.log_over(brain_box(MASK)).exp() / made.top
    torch.testing.assert_close(made.image[MASK], wanted[MASK].clamp(max=1), atol=1e-5, rtol=1e-4)


def test_the_rough_field_of_a_scanner_is_that_of_its_image():
    corruption = ScannerCorruption(**ALL, coils=1.5)
    drawn = corruption.draw(3, torch.Generator().manual_seed(1))
    made = corruption.replay(IMAGE, MASK, MAPS, drawn, 2.0)
    field = corruption.rough_field(IMAGE, MASK, MAPS, drawn, 2.0)
    own = rough_field(made.image * made.top, MASK, 2.0)
    assert (field - own)[MASK].abs().mean() < 0.15
