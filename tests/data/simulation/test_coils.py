"""Shading of surface coils: as bright near them as it should be, as strong as it was drawn."""

import torch

from harmony.data.simulation.coils import Coils
from harmony.scanner import brain_box


def ball(side=25):
    line = torch.linspace(-1, 1, side)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return z**2 + y**2 + x**2 <= 1


def test_a_lone_coil_falls_off_as_the_field_on_the_axis_of_a_loop():
    place, radius = torch.tensor([[0.0, 0.0, 1.5]]), 0.5
    coil = Coils(place, torch.tensor([radius]), torch.ones(1), 1.0)
    field = coil.log_over((torch.zeros(1), torch.zeros(1), torch.tensor([1.0, 0.0, -1.0])))[0, 0]
    true = -1.5 * (radius**2 + torch.tensor([0.5, 1.5, 2.5]) ** 2).log()
    torch.testing.assert_close((field[0] - field[1]) / (field[1] - field[2]), (true[0] - true[1]) / (true[1] - true[2]))


def test_the_amount_is_the_logarithm_of_the_brightest_over_the_darkest():
    mask = ball()
    for seed in range(5):
        coils = Coils.draw(2.3, torch.Generator().manual_seed(seed))
        field = coils.log_over(brain_box(mask))[mask]
        assert 0 <= coils.amount <= 2.3
        assert abs(float(field.max() - field.min()) - coils.amount) < 0.12 * coils.amount
        assert field.mean().abs() < 0.1 * coils.amount + 1e-6


def test_no_amount_is_no_shading():
    coils = Coils.draw(0.0, torch.Generator().manual_seed(0))
    assert not coils.log_over(brain_box(ball())).any()
