"""The baselines against what is known of them: landmarks, spectra, shading, and what a chain hands on."""

import numpy as np
import pytest
import torch

from harmony.core import Harmonized, Stack
from harmony.core.reference import Reference
from harmony.methods import N4, AdaptiveMethod, Method, Nyul, Ssimh, Unharmonized, chain
from harmony.methods.blindharmony import BlindHarmony
from harmony.methods.harmonizing_flows import Adaptation
from harmony.methods.nyul import through_landmarks
from harmony.methods.solvers import Iterates
from harmony.methods.ssimh import swap_amplitude


def stack(slices=4, height=16, width=24, seed=0):
    image = 0.2 + 0.6 * torch.rand(slices, 1, height, width, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros_like(image, dtype=torch.bool)
    mask[..., 2:-2, 3:-3] = True
    return Stack(torch.where(mask, image, 0), mask, torch.linspace(0, 1, slices))


def reference(of):
    inside = torch.stack([slice_[inside].sort().values for slice_, inside in zip(of.image, of.mask, strict=True)])
    return Reference(of.image, inside, of.mask.flatten(1).sum(1).float())


# Nyul


def test_landmarks_go_where_they_should_and_the_rest_on_straight_lines():
    values = np.array([0.0, 1, 1.5, 2, 4, 5])
    found = through_landmarks(values, np.array([1.0, 2, 4]), np.array([10.0, 20, 24]))
    np.testing.assert_allclose(found, [0, 10, 15, 20, 24, 26])


def test_landmarks_that_coincide_are_one():
    found = through_landmarks(np.array([1.0, 2, 3]), np.array([1.0, 2, 2, 3]), np.array([0.0, 1, 3, 4]))
    np.testing.assert_allclose(found, [0, 2, 4])
    np.testing.assert_allclose(through_landmarks(np.ones(2), np.ones(3), np.array([1.0, 2, 6])), [3, 3])


def test_after_nyul_the_landmarks_are_the_references():
    like, query = stack(seed=1), stack(seed=0)
    query = Stack(0.5 * query.image**1.5, query.mask, query.position)
    percentiles = [5, 25, 50, 75, 95]
    made = Nyul(reference=reference(like), percentiles=percentiles).harmonize(query).image[query.mask]
    wanted = np.percentile(like.image[like.mask], percentiles)
    np.testing.assert_allclose(np.percentile(made, percentiles), wanted, atol=2e-3)


def test_nyul_undoes_a_gain_and_an_offset():
    like = stack(seed=1)
    query = Stack(torch.where(like.mask, 0.1 + 0.5 * like.image, 0), like.mask, like.position)
    made = Nyul(reference=reference(like), percentiles=[1, 50, 99]).harmonize(query).image
    torch.testing.assert_close(made, like.image, atol=2e-3, rtol=0)


# SSIMH


def test_an_image_with_its_own_amplitude_is_itself():
    image = stack().image
    torch.testing.assert_close(swap_amplitude(image, image, 100.0), image, atol=1e-6, rtol=0)
    like = stack()
    torch.testing.assert_close(Ssimh(reference=reference(like), cutoff=3).harmonize(like).image, like.image)


def test_low_frequencies_have_the_references_amplitude_and_all_have_the_querys_phase():
    image, like, cutoff = stack(1, 16, 24, seed=0).image, stack(1, 16, 24, seed=1).image, 2.5
    made, old, new = (torch.fft.fft2(x.double()) for x in (swap_amplitude(image, like, cutoff), image, like))
    for k in range(16):
        for m in range(24):
            radius = np.hypot(min(k, 16 - k), min(m, 24 - m))
            wanted = new if radius < cutoff else old
            assert made[0, 0, k, m].abs() == pytest.approx(wanted[0, 0, k, m].abs().item(), abs=1e-3), (k, m)
    both = (old.abs() > 1e-2) & (made.abs() > 1e-2)
    torch.testing.assert_close((made / old)[both].imag, torch.zeros_like(made.real[both]), atol=1e-3, rtol=0)


def test_the_mean_of_a_slice_becomes_the_references():
    """Up to one cycle only the mean is swapped: a gain and an offset of the slice."""
    image, like = stack(seed=0).image, stack(seed=1).image
    made = swap_amplitude(image, like, 1.0)
    torch.testing.assert_close(made.mean((1, 2, 3)), like.mean((1, 2, 3)))
    torch.testing.assert_close(made - made.mean((1, 2, 3), True), image - image.mean((1, 2, 3), True))


def test_the_reference_slice_is_cut_to_the_querys_brain():
    """A reference of the same contrast in a larger head asks for no change."""
    query = stack(seed=0)
    larger = Stack(torch.full_like(query.image, 0.5), torch.ones_like(query.mask), query.position)
    even = Stack(torch.where(query.mask, 0.5, 0.0), query.mask, query.position)
    torch.testing.assert_close(Ssimh(reference=reference(larger), cutoff=3).harmonize(even).image, even.image)


# N4


@pytest.mark.parametrize("slices", [1, 12])
def test_n4_takes_out_shading_and_keeps_the_mean(slices):
    pytest.importorskip("SimpleITK")
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (12, 48, 40)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + 0.3 * z**2)
    tissue = np.select([radius < 0.4, radius < 0.65, radius < 0.9], [0.2, 0.4, 0.55])
    tissue = tissue * (1 + 0.01 * np.random.default_rng(0).standard_normal(tissue.shape))
    chosen = [6] if slices == 1 else range(12)
    clean = torch.from_numpy(tissue[chosen, None]).float()
    shading = torch.from_numpy(np.exp(0.3 * x + 0.2 * y)[chosen, None]).float()
    mask = clean > 0
    query = Stack((clean * shading).clamp(0, 1), mask, torch.linspace(0, 1, slices))
    made = N4(levels=4).harmonize(query).image

    def spread(image):
        """Relative deviation within the tissues: what shading adds."""
        parts = [image[(clean - level).abs() < 0.08] for level in (0.2, 0.4, 0.55)]
        return np.mean([float(part.std() / part.mean()) for part in parts])

    assert spread(made) < 0.6 * spread(query.image)
    assert made[mask].mean() == pytest.approx(query.image[mask].mean().item(), abs=0.01)


# Chains


class Affine(Method):
    def __init__(self, gain, offset, trace=2):
        self.gain, self.offset, self.trace = gain, offset, trace

    def harmonize(self, stack):
        image = torch.where(stack.mask, self.gain * stack.image + self.offset, 0)
        return Harmonized(image, {"bpd": torch.full((self.trace, len(stack)), self.gain)})


class Learner(AdaptiveMethod):
    """Adds what it was adapted to: the mean of the stacks it saw."""

    def __init__(self):
        self.mean = 0.0

    def harmonize(self, stack):
        return Harmonized(stack.image + self.mean)

    def adapt(self, stacks, watch=None):
        self.mean = torch.cat([s.image for s in stacks]).mean()
        if watch:
            watch(0)
        return Adaptation([], 0, "seen", "adapted")

    def reset(self):
        self.mean = 0.0


def test_a_chain_applies_its_steps_in_order():
    query = stack()
    made = chain(steps={"a": Affine(0.5, 0.0), "b": Affine(1.0, 0.1)}).harmonize(query)
    torch.testing.assert_close(made.image, torch.where(query.mask, 0.5 * query.image + 0.1, 0))
    assert made.trace["bpd"][:, 0].tolist() == [0.5, 0.5, 1.0, 1.0]  # one after the other


def test_a_chain_of_nothing_is_the_identity():
    assert torch.equal(chain(steps={}).harmonize(stack()).image, stack().image)


def test_a_chain_is_adaptive_where_a_step_is():
    assert not isinstance(chain(steps={"a": Unharmonized()}), AdaptiveMethod)
    assert isinstance(chain(steps={"a": Unharmonized(), "b": Learner()}), AdaptiveMethod)
    with pytest.raises(ValueError, match="one of its methods, not 2"):
        chain(steps={"a": Learner(), "b": Learner()})


def test_an_adaptive_step_is_adapted_to_what_the_steps_before_it_made():
    query, seen = stack(), []
    method = chain(steps={"a": Affine(0.5, 0.0), "b": Learner(), "c": Affine(2.0, 0.0)})
    assert method.adapt([query, query], seen.append).reason == "seen"
    assert seen == [0]
    mean = 0.5 * query.image.mean()
    wanted = torch.where(query.mask, 2 * (0.5 * query.image + mean), 0)
    torch.testing.assert_close(method.harmonize(query).image, wanted)
    method.reset()
    torch.testing.assert_close(method.harmonize(query).image, query.image)


def test_blindharmony_starts_from_the_mean_reference_slice_at_the_same_place_and_from_the_query_where_none_is():
    seen = []

    class Spy:
        def solve(self, density, distance, start, mask):
            seen.append(start)
            return Iterates(mask, start, trace={"bpd": [torch.zeros(len(start))]})

    class Near:
        def to(self, image, mask):
            return None

    levels = torch.tensor([0.2, 0.4, 0.8])[:, None, None, None].expand(3, 1, 4, 4).clone()
    levels[..., 0] = 0  # no reference brain there
    reference = Reference(levels, torch.rand(3, 8), torch.ones(3))
    method = BlindHarmony(density=torch.nn.Identity(), reference=reference, distance=Near(), solver=Spy(), batch=2)
    query = torch.full((3, 1, 4, 4), 0.6)
    method.harmonize(Stack(query, torch.ones_like(query).bool(), torch.tensor([0.0, 0.25, 1.0])))
    start = torch.cat(seen)
    torch.testing.assert_close(start[:, 0, 0, 1], torch.tensor([0.2, 0.3, 0.8]))
    assert (start[..., 0] == 0.6).all()
