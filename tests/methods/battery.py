"""What every method must do, whatever it is: shape, range, background, determinism, and odd inputs."""

import copy
import functools
import pickle

import configs
import torch
from brains import neutral_prior
from omegaconf import DictConfig

from harmony import app
from harmony.core import Stack, Volume
from harmony.core.manifest import Scan
from harmony.core.reference import Reference
from harmony.methods import AdaptiveMethod

FLOW = ["flow.levels=2", "flow.steps=1", "flow.hidden_channels=4", "flow.blocks=1"]
# Whatever is called so, in a method or a network, is made quick.
SMALL = {"widths": lambda widths: [4] * len(widths), "iterations": lambda _: 2, "passes": lambda _: 1}


@functools.cache
def config(name, *overrides):
    """Not to be written to."""
    cfg = pickle.loads(small(overrides))
    cfg.methods = [name]
    return cfg


@functools.cache
def small(overrides):
    cfg = configs.composed(*FLOW, *overrides)
    shrink(cfg.method)
    shrink(cfg.tasks)
    return pickle.dumps(cfg)


def shrink(cfg):
    for key in cfg:
        if key in SMALL:
            cfg[key] = SMALL[key](cfg[key])
        elif isinstance(cfg[key], DictConfig):
            shrink(cfg[key])


def networks_of(cfg):
    """Untrained networks of the stages that the methods want, each weight moved a little, as training would."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    networks = {stage: app.build(cfg.tasks[stage].network).eval() for stage in app.models_wanted(cfg)}
    learned = {part: neutral_prior() for part in app.parts_wanted(cfg) if part.endswith("/prior")}
    with torch.no_grad():
        for network in networks.values():
            for parameter in network.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return networks | learned


def volume(slices, height, width, seed=0):
    """A brain of smooth tissue with some texture, smaller at both ends, not in the middle of the picture."""
    generator = torch.Generator().manual_seed(seed)
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (max(slices, 3), height, width)), indexing="ij")
    mask = x**2 + (y - 0.1) ** 2 + 0.4 * z**2 < 0.7
    tissue = 0.45 + 0.25 * torch.sin(4 * x) * torch.cos(3 * y + z)
    image = torch.where(mask, tissue + 0.1 * torch.rand(mask.shape, generator=generator), 0)
    return Volume(Scan("x.nii", "sub-1"), image, mask, None, torch.eye(4).numpy(), 1.0)


def stack(slices=5, height=16, width=32, seed=1):
    made = volume(slices, height, width, seed)
    return made.stack(torch.tensor([1]) if slices == 1 else torch.arange(slices))


def reference(like=None, height=16, width=32):
    return Reference.of([like or volume(5, height, width)], positions=5, quantiles=1024)


def run(method, query):
    """Adapt where the method does, and harmonize, as the entry points do."""
    if isinstance(method, AdaptiveMethod):
        method.reset()
        method.adapt([query])
    return method.harmonize(query)


def check(build, height=16, width=32):
    """The battery on one method. build() makes it anew for a reference of slices of height x width."""
    odd = {
        "a batch": stack(5, height, width),
        "one slice": stack(1, height, width),
        "a flat brain": flat(stack(5, height, width)),
        "a slice without brain": emptied(stack(5, height, width), slice(0, 1)),
        "no brain at all": emptied(stack(5, height, width), slice(None)),
        "a brain of one pixel": one_pixel(stack(5, height, width)),
    }
    for name, query in odd.items():
        before = copy.deepcopy(query)
        with torch.no_grad():
            made = run(build(), query)
            again = run(build(), query) if name == "a batch" else made
        image = made.image
        assert image.shape == query.image.shape, name
        assert image.dtype == torch.float32, name
        assert image.isfinite().all(), name
        assert image.min() >= 0, name
        assert image.max() <= 1, name
        assert (image[~query.mask] == 0).all(), f"{name}: the background is not 0"
        assert torch.equal(image, again.image), f"{name}: not deterministic"
        assert torch.equal(query.image, before.image), f"{name}: the input was written to"
        assert torch.equal(query.mask, before.mask), f"{name}: the mask was written to"
        for trace, values in made.trace.items():
            assert values.dim() == 2, (name, trace)
            assert values.shape[1] == len(query), (name, trace)


def flat(query):
    return Stack(torch.where(query.mask, 0.5, 0.0), query.mask, query.position)


def emptied(query, which):
    image, mask = query.image.clone(), query.mask.clone()
    image[which], mask[which] = 0, False
    return Stack(image, mask, query.position)


def one_pixel(query):
    mask = torch.zeros_like(query.mask)
    mask[2, 0, 8, 16] = True
    return Stack(torch.where(mask, 0.5, 0.0), mask, query.position)
