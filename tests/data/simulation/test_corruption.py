"""Corruptions: their laws, their neutral points, their shares, their replay; negatives by hand."""

import math

import pytest
import torch

from harmony.data.simulation.corruption import (
    BroadCorruption,
    CurveCorruption,
    Curves,
    InTurn,
    blend_weights,
    blur_inside,
    cosine_weights,
    look_up,
    monotone_table,
    rician_noise,
    smooth_field,
)
from harmony.data.simulation.negatives import candidate_negatives, forced_negatives, visibly_differs

CURVES = {
    "shares": (0.4, 0.4, 0.2),
    "dyadic_levels": 8,
    "middle": 0.6,
    "shift": 30.0,
    "gain": (0.5, 2.0),
    "gamma": (0.5, 1.5),
    "probability": 0.75,
}
BROAD = {
    "contrast": 0.3,
    "bias": 0.3,
    "blur": 1.0,
    "noise": 0.05,
    "probability": 1.0,
    "order": 3,
    "intensities": 4,
    "percentile": 99.5,
}
NEUTRAL = {"contrast": 0.0, "bias": 0.0, "blur": 0.0, "noise": 0.0}
ALL = [
    CurveCorruption(**CURVES),
    BroadCorruption(**BROAD),
    InTurn({"curve": CurveCorruption(**CURVES), "broad": BroadCorruption(**BROAD)}),
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def slices(count=6, height=24, width=20):
    """Blobs of brain on zero."""
    image = torch.rand(count, 1, height, width, generator=seeded(1))
    mask = torch.zeros(image.shape, dtype=torch.bool)
    mask[..., 4:-4, 3:-3] = True
    return image * mask, mask


def position_and_volume(count=6):
    return torch.linspace(0, 1, count), torch.arange(count) // 3


# ---- the battery: every corruption --------------------------------------------------------------------------------


@pytest.mark.parametrize("corruption", ALL)
def test_replay_is_exact_stays_in_range_and_leaves_the_background_black(corruption):
    (image, mask), (position, volume) = slices(), position_and_volume()
    before = image.clone()
    parameters = corruption.draw(position, volume, seeded())
    out = corruption.replay(image, mask, parameters)
    assert torch.equal(corruption.replay(image, mask, parameters), out)
    assert torch.equal(image, before)
    assert ((out >= 0) & (out <= 1)).all()
    assert (out[~mask] == 0).all()
    assert (out != image).any(dim=(1, 2, 3)).all()
    other = corruption.replay(image, mask, corruption.draw(position, volume, seeded(1)))
    assert not torch.equal(other, out)


@pytest.mark.parametrize(
    "corruption", [CurveCorruption(**{**CURVES, "shares": (0.0, 0.0, 1.0), "probability": 1.0}), ALL[1]]
)
def test_slices_of_a_volume_share_parameters_wherever_they_stand_in_the_batch(corruption):
    position, volume = torch.linspace(0, 1, 6), torch.tensor([7, 2, 7, 2, 2, 2])
    drawn = corruption.draw(position, volume, seeded())
    shared = [p for name, p in drawn._asdict().items() if name not in {"seed", "position", "volume"}]
    for p in shared:
        assert torch.equal(p[0], p[2])
        assert torch.equal(p[1], p[5])
        assert not torch.equal(p[0], p[1])
    own = corruption.draw(position, torch.arange(6), seeded())
    rows = torch.cat([p.double().flatten(1) if p.dim() > 1 else p[:, None].double() for p in own], dim=1)
    assert len(rows.unique(dim=0)) == 6


# ---- curves -------------------------------------------------------------------------------------------------------


def test_tables_rise_between_fixed_ends():
    table = monotone_table(200, 8, 0.6, seeded())
    assert table.shape == (200, 257)
    assert (table[:, 0] == 0).all()
    assert (table[:, -1] == 1).all()
    assert (table.diff() > 0).all()


def test_table_midpoints_are_uniform_in_the_middle_of_their_gap():
    table = monotone_table(4000, 3, 0.6, seeded()).double()
    for step in (1, 2, 4):  # the midpoints of each dyadic level
        left, middle, right = table[:, 0:-1:8], table[:, step : step + 1], table[:, 2 * step : 2 * step + 1]
        place = ((middle - left) / (right - left)).flatten()
        assert place.min() == pytest.approx(0.2, abs=0.005)
        assert place.max() == pytest.approx(0.8, abs=0.005)
        assert place.mean() == pytest.approx(0.5, abs=4 * 0.6 / math.sqrt(12 * 4000))


def test_look_up_by_hand():
    table = torch.tensor([[0.0, 0.2, 1.0], [0.0, 0.5, 1.0]])
    image = torch.tensor([0.0, 0.25, 0.75, 1.0]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    assert look_up(image, table)[0].flatten().tolist() == pytest.approx([0.0, 0.1, 0.6, 1.0])
    assert torch.equal(look_up(image, table)[1], image[1])


def test_chain_by_hand():
    image = torch.tensor([0.1, 0.4, 0.9, 0.5]).view(1, 1, 1, 4)
    mask = torch.tensor([True, True, True, False]).view(1, 1, 1, 4)
    table = torch.tensor([[0.0, 0.25, 1.0]])
    curves = Curves(torch.tensor([-0.2]), torch.tensor([1.5]), torch.tensor([2.0]), table)
    out = CurveCorruption(**CURVES).replay(image, mask, curves)
    # shift and gain: -0.15, 0.3, 1.05; clip: 0, 0.3, 1; square: 0, 0.09, 1; table: slope 1/2 below the middle
    assert out.flatten().tolist() == pytest.approx([0.0, 0.045, 1.0, 0.0])


@pytest.mark.parametrize(("clip_between", "expected"), [(False, 0.55), (True, 0.5)])
def test_the_chain_clips_between_addition_and_multiplication_where_it_is_asked_to(clip_between, expected):
    """0.9 + 0.2 is 1.1, or 1.0 clipped; times a half."""
    image, mask = torch.full((1, 1, 2, 2), 0.9), torch.ones(1, 1, 2, 2, dtype=torch.bool)
    curves = Curves(torch.tensor([0.2]), torch.tensor([0.5]), torch.tensor([1.0]), torch.linspace(0, 1, 17)[None])
    out = CurveCorruption(**CURVES, clip_between=clip_between).replay(image, mask, curves)
    torch.testing.assert_close(out, torch.full_like(out, expected))


def test_neutral_curves_return_the_input():
    image, mask = slices()
    curves = CurveCorruption(**{**CURVES, "shares": (0.0, 1.0, 0.0), "probability": 0.0})
    drawn = curves.draw(*position_and_volume(), seeded())
    assert drawn.shift.tolist() == 6 * [0.0]
    assert drawn.gain.tolist() == drawn.gamma.tolist() == 6 * [1.0]
    assert torch.equal(curves.replay(image, mask, drawn), image)


def test_shares_and_ranges():
    count = 4000
    drawn = CurveCorruption(**CURVES).draw(torch.zeros(count), torch.arange(count), seeded())
    tabled = (drawn.table - torch.linspace(0, 1, 257)).abs().amax(1) > 0
    shifted, scaled, bent = drawn.shift != 0, drawn.gain != 1, drawn.gamma != 1
    chained = shifted | scaled | bent
    all_neutral = 0.25**3  # of the chains, where no coin falls
    for event, share in (
        (tabled, 0.6),
        (chained, 0.6 * (1 - all_neutral)),
        (tabled & chained, 0.2 * (1 - all_neutral)),
        (shifted, 0.6 * 0.75),
        (scaled, 0.6 * 0.75),
        (bent, 0.6 * 0.75),
    ):
        assert event.float().mean().item() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / count))
    for values, low, high in (
        (drawn.shift[shifted], -30 / 255, 30 / 255),
        (drawn.gain[scaled], 0.5, 2.0),
        (drawn.gamma[bent], 0.5, 1.5),
    ):
        assert values.min().item() == pytest.approx(low, abs=0.01)
        assert values.max().item() == pytest.approx(high, abs=0.01)


def test_shares_must_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        CurveCorruption(**{**CURVES, "shares": (0.4, 0.4, 0.4)})


# ---- broad --------------------------------------------------------------------------------------------------------


def test_in_turn_is_the_second_of_the_first():
    (image, mask), (position, volume) = slices(), position_and_volume()
    curve, broad = ALL[0], ALL[1]
    generator = seeded()
    drawn = curve.draw(position, volume, generator), broad.draw(position, volume, generator)
    wanted = broad.replay(curve.replay(image, mask, drawn[0]), mask, drawn[1])
    assert torch.equal(ALL[2].replay(image, mask, ALL[2].draw(position, volume, seeded())), wanted)


@pytest.mark.parametrize("change", [{**NEUTRAL}, {"probability": 0.0}])
def test_neutral_scanner_returns_the_input(change):
    image, mask = slices()
    scanner = BroadCorruption(**{**BROAD, **change})
    assert torch.equal(scanner.replay(image, mask, scanner.draw(*position_and_volume(), seeded())), image)


@pytest.mark.parametrize("part", ["contrast", "bias", "blur", "noise"])
def test_each_part_alone_changes_the_image(part):
    image, mask = slices()
    scanner = BroadCorruption(**{**BROAD, **NEUTRAL, part: BROAD[part]})
    out = scanner.replay(image, mask, scanner.draw(*position_and_volume(), seeded()))
    assert (out != image).any(dim=(1, 2, 3)).all()


def test_fields_have_unit_strength_and_change_smoothly_over_the_volume():
    coefficients = torch.randn(400, 1, 3, 3, 3, generator=seeded()) * cosine_weights(3)
    field = torch.stack([smooth_field(coefficients, torch.full((400,), p), (16, 12)) for p in (0.05, 0.35, 0.65, 0.95)])
    assert field.square().mean().item() == pytest.approx(1, abs=0.1)
    one = coefficients[:1].expand(50, -1, -1, -1, -1)
    volume = smooth_field(one, torch.linspace(0, 1, 50), (60, 60))
    span = volume.max() - volume.min()
    for axis in (0, 2, 3):
        assert volume.diff(dim=axis).abs().max() < 0.2 * span


def test_field_by_hand():
    coefficients = torch.zeros(1, 1, 2, 2, 2)
    coefficients[0, 0, 1, 0, 1] = 3.0
    field = smooth_field(coefficients, torch.tensor([0.25]), (1, 2))
    expected = [3 * math.cos(math.pi / 4) * math.cos(math.pi * w) for w in (0.25, 0.75)]
    assert field.flatten().tolist() == pytest.approx(expected)


def test_blend_weights_add_up_to_one():
    image = torch.linspace(0, 1, 50).view(1, 1, 5, 10)
    weights = blend_weights(image, 4)
    torch.testing.assert_close(weights.sum(1, keepdim=True), torch.ones_like(image))
    assert weights[0, :, 0, 0].tolist() == pytest.approx([1, 0, 0, 0])
    assert weights[0, :, -1, -1].tolist() == pytest.approx([0, 0, 0, 1], abs=1e-6)


def test_contrast_is_not_one_curve_and_bias_is_the_same_for_every_tissue():
    image = torch.tensor([0.2, 0.8]).repeat(12, 6).view(1, 1, 12, 12)
    mask = torch.ones_like(image, dtype=torch.bool)
    for part, tissues_agree in (("contrast", False), ("bias", True)):
        scanner = BroadCorruption(**{**BROAD, **NEUTRAL, "order": 1 + (part == "bias"), part: 0.3})
        out = scanner.replay(image, mask, scanner.draw(torch.zeros(1), torch.zeros(1), seeded()))
        gain = out / image
        ratio = gain[..., ::2] / gain[..., 1::2]
        assert (ratio.log().abs().max() < 0.15) == tissues_agree
        left, right = gain[..., 0], gain[..., -2]
        assert torch.allclose(left, right) != tissues_agree  # order 1 does not vary in space


def test_blur_of_a_point_is_its_gaussian_and_the_outside_does_not_leak_in():
    image = torch.zeros(2, 1, 21, 21)
    image[..., 10, 10] = 1
    out = blur_inside(image, torch.ones_like(image, dtype=torch.bool), torch.tensor([1.5, 0.0]), radius=5)
    assert out[0].max().item() == pytest.approx(1 / (2 * math.pi * 1.5**2), rel=1e-2)
    assert out[0, 0, 10, 13].item() == pytest.approx(out[0].max().item() * math.exp(-0.5 * 4), rel=1e-4)
    assert torch.equal(out[1], image[1])
    flat, mask = slices(1)
    flat = 0.7 * mask.float()
    torch.testing.assert_close(blur_inside(flat, mask, torch.tensor([1.5]), radius=5), flat)


def test_noise_is_rician_and_differs_between_slices():
    image = torch.full((2, 1, 100, 100), 0.5)
    mask = torch.ones_like(image, dtype=torch.bool)
    scanner = BroadCorruption(**{**BROAD, **NEUTRAL, "noise": 0.05, "percentile": 50.0})
    drawn = scanner.draw(torch.zeros(2), torch.zeros(2), seeded())
    drawn = drawn._replace(noise=torch.full((2,), 0.05))
    out = scanner.replay(image, mask, drawn)
    assert out.std().item() == pytest.approx(0.05, rel=0.05)
    assert not torch.equal(out[0], out[1])
    alone = scanner.replay(image[:1], mask[:1], type(drawn)(*(p[:1] for p in drawn)))
    torch.testing.assert_close(alone, out[:1], atol=2e-3, rtol=0)  # its noise does not depend on the batch


def test_noise_on_nothing_is_rayleigh():
    out = rician_noise(torch.zeros(1, 1, 200, 200), torch.tensor([0.1]), torch.tensor([5]))
    assert (out > 0).all()
    assert out.mean().item() == pytest.approx(0.1 * math.sqrt(math.pi / 2), rel=0.02)


def test_the_robust_maximum_of_each_volume_is_kept():
    (image, mask), (position, volume) = slices(), position_and_volume()
    image = 0.8 * image
    scanner = BroadCorruption(**{**BROAD, "percentile": 90.0})
    out = scanner.replay(image, mask, scanner.draw(position, volume, seeded()))
    for k in (0, 1):
        before, after = (torch.quantile(x[volume == k][mask[volume == k]], 0.9).item() for x in (image, out))
        assert after == pytest.approx(before, rel=1e-5)


def test_a_slice_without_brain_stays_black():
    image, mask = slices(2)
    image[0], mask[0] = 0, False
    for corruption in ALL:
        out = corruption.replay(image, mask, corruption.draw(torch.zeros(2), torch.arange(2), seeded()))
        assert out.isfinite().all()
        assert (out[0] == 0).all()


# ---- negatives ----------------------------------------------------------------------------------------------------


def test_difference_rule_by_hand():
    mask = torch.tensor([True, True, False, False]).view(1, 1, 1, 4)
    image = torch.full((1, 1, 1, 4), 100 / 255)
    altered = image + torch.tensor([10.0, -6.0, 99.0, 99.0]).view(1, 1, 1, 4) / 255  # the outside does not count
    # mean |d| = 8, std(d) = 8: 8 + 2 * 8 = 24
    assert visibly_differs(altered, image, mask, 23.9).item()
    assert not visibly_differs(altered, image, mask, 24.1).item()
    constant = image + 19 / 255  # no deviation: 19
    assert not visibly_differs(constant, image, mask, 20).item()
    assert visibly_differs(image - 21 / 255, image, mask, 20).item()  # 8-bit arithmetic would wrap around
    assert not visibly_differs(altered, image, torch.zeros_like(mask), 0).item()


def test_candidates_are_kept_only_where_they_differ():
    image, mask = slices(400)
    curves = CurveCorruption(**{**CURVES, "shares": (0.5, 0.5, 0.0), "gain": (0.5, 1.5), "probability": 0.6})
    result = candidate_negatives(image, mask, curves, probability=0.2, threshold=20, generator=seeded())
    negative = result.label == -1
    assert set(result.label.tolist()) == {-1.0, 1.0}
    assert torch.equal(result.image[~negative], image[~negative])
    assert visibly_differs(result.image, image, mask, 20)[negative].all()
    everyone = candidate_negatives(image, mask, curves, probability=1.0, threshold=0, generator=seeded())
    assert 0.05 < negative.float().mean() < 0.2 < (everyone.label == -1).float().mean()
    none = candidate_negatives(image, mask, curves, probability=1.0, threshold=1000, generator=seeded())
    assert torch.equal(none.image, image)
    assert (none.label == 1).all()


def test_share_of_candidates():
    image, mask = slices(1000)
    curves = CurveCorruption(**{**CURVES, "shares": (1.0, 0.0, 0.0)})
    result = candidate_negatives(image, mask, curves, probability=0.2, threshold=0, generator=seeded())
    assert (result.label == -1).float().mean().item() == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / 1000))


def test_forced_negatives_are_those_that_were_asked_for_and_repeat():
    image, mask = slices(10)
    forced = torch.arange(10) % 5 == 0
    curves = CurveCorruption(**{**CURVES, "shares": (1.0, 0.0, 0.0)})
    first, second = (forced_negatives(image, mask, curves, forced=forced, generator=seeded()) for _ in range(2))
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.label == -1, forced)
    assert torch.equal((first.image != image).any(dim=(1, 2, 3)), forced)
