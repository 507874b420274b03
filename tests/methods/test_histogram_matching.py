"""Histogram matching: neutral on itself, blind to monotone changes, background untouched."""

import numpy as np
import torch

from harmony.core import Scan, Volume
from harmony.core.reference import Reference
from harmony.methods import HistogramMatching


def volume(seed=0):
    image = 0.1 + 0.9 * torch.rand(9, 24, 24, generator=torch.Generator().manual_seed(seed))
    image[:, :4] = 0
    return Volume(Scan("x.nii", "sub-1"), image, image > 0, None, np.eye(4), 1.0)


def matching(reference):
    return HistogramMatching(reference=Reference.of([reference], positions=9, quantiles=1024))


def test_a_volume_matched_to_itself_stays_itself():
    stack = volume().stack(torch.arange(9))
    found = matching(volume()).harmonize(stack).image
    torch.testing.assert_close(found, stack.image, atol=3e-3, rtol=0)


def test_a_part_of_a_volume_is_matched_to_the_same_part():
    """Slices get brighter upwards: pooling all of them would darken the upper ones."""
    tilted = volume()
    tilted = Volume(
        tilted.scan, tilted.image * torch.linspace(0.3, 1, 9)[:, None, None], tilted.mask, None, np.eye(4), 1.0
    )
    upper = tilted.stack(torch.arange(6, 9))
    found = matching(tilted).harmonize(upper).image
    torch.testing.assert_close(found, upper.image, atol=5e-3, rtol=0)


def test_a_monotone_change_leaves_the_result_unchanged():
    stack = volume(1).stack(torch.arange(9))
    curved = stack.__class__(stack.image**0.7, stack.mask, stack.position)
    method = matching(volume())
    torch.testing.assert_close(method.harmonize(curved).image, method.harmonize(stack).image, atol=1e-4, rtol=0)


def test_the_background_stays_black_and_an_empty_stack_is_no_problem():
    stack = volume(1).stack(torch.arange(9))
    assert (matching(volume()).harmonize(stack).image[~stack.mask] == 0).all()
    empty = stack.__class__(torch.zeros_like(stack.image), torch.zeros_like(stack.mask), stack.position)
    assert not matching(volume()).harmonize(empty).image.any()
