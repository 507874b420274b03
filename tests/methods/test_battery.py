"""Every method of conf/ obeys the same laws, and is in the battery by being in the config."""

import battery
import pytest
import torch

from harmony import app
from harmony.core import Stack

METHODS = app.members("method")
# Settings under which a method is the identity, and how exactly (grey levels of 1); None where it has no such setting.
NEUTRAL = {
    "none": ([], 0),
    "histogram_matching": ([], 1.5e-2),  # the reference is the query's own volume
    "nyul": ([], 5e-3),
    "ssimh": (["method.ssimh.cutoff=0"], 1e-6),
}


def builder(name, overrides=(), like=None, height=16, width=32):
    cfg = battery.config(name, *overrides)
    networks = battery.networks_of(cfg)
    reference = battery.reference(like, height, width)
    return lambda: app.build_methods(cfg, networks, reference, 3.0)[name]


@pytest.mark.parametrize("name", METHODS)
def test_the_battery(name):
    battery.check(builder(name))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 16)])
def test_any_divisible_size(name, height, width):
    query = battery.stack(3, height, width)
    with torch.no_grad():
        made = battery.run(builder(name, height=height, width=width)(), query)
    assert made.image.shape == query.image.shape
    assert (made.image[~query.mask] == 0).all()


@pytest.mark.parametrize("name", NEUTRAL)
def test_the_neutral_setting_is_the_identity(name):
    overrides, tolerance = NEUTRAL[name]
    like = battery.volume(5, 64, 64, seed=3)
    query = like.stack(torch.arange(5))
    made = builder(name, overrides, like)().harmonize(query)
    torch.testing.assert_close(made.image, query.image, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "none"])
def test_every_method_but_none_does_something(name):
    query = battery.stack()
    query = Stack(query.image**0.5, query.mask, query.position)
    made = builder(name)().harmonize(query)
    assert (made.image - query.image).abs().max() > 1e-3
