"""From a scan to its scanner and back, on phantoms whose tissues and scanner are known."""

from dataclasses import replace

import torch
from brains import by_intensity, flat_prior, phantom, scanned, scanner

from harmony.metrics import psnr
from harmony.scanner import Contrast, Resolution, brain_box, deblur, estimate, gaussian_inside, mean_spectrum


def test_a_scanner_that_the_model_can_express_is_undone_with_true_maps():
    image, mask, maps = phantom()
    prior, true = flat_prior(), scanner()
    query = scanned(image, mask, maps, true)
    known = {"resolution": Resolution(torch.zeros(3), torch.zeros(())), "maps": maps}
    found, own = (estimate(each, mask, by_intensity, prior, **known) for each in (query, image))
    contrast = Contrast.of(found.fit.contrast.theta - own.fit.contrast.theta)
    restored = torch.where(mask, found.clear * found.gain(contrast, prior.expected, mask), 0)
    assert psnr(query[:, None], image[:, None]) < 32
    assert psnr(restored[:, None], image[:, None]) > 45
    torch.testing.assert_close(contrast.theta, true.theta, atol=5e-3, rtol=0)


def test_a_voxel_of_two_tissues_is_undone_as_the_mixture_that_it_is():
    """Fluid that the scanner makes far darker, in a voxel that is mostly white matter: no bright rim."""
    _, mask, maps = phantom(texture=0.0)
    prior = flat_prior()
    shares = torch.tensor([0.3, 0.0, 0.7]).view(3, 1, 1, 1) * mask
    contrast = Contrast(torch.tensor([0.4, 0.85, 0.85]).log(), scanner().field)
    levels = prior.expected.log_over(brain_box(mask)).exp()
    true = torch.where(mask, (shares * levels).sum(0), 0)
    query = torch.where(mask, (shares * levels * contrast.log_over(brain_box(mask)).exp()).sum(0), 0)
    found = replace(estimate(query, mask, by_intensity, prior, maps=maps), clear=query, maps=shares)
    restored = found.restored(found.gain(contrast, prior.expected, mask), mask)
    torch.testing.assert_close(restored, true)


def test_a_voxel_without_any_tissue_is_left_as_it_is():
    image, mask, maps = phantom()
    found = estimate(image, mask, by_intensity, flat_prior(), maps=torch.zeros_like(maps))
    assert (found.gain(scanner(), flat_prior().expected, mask) == 1).all()


def test_what_is_restored_is_an_image_of_the_brain():
    """A deblurred voxel overshoots, and so may what it is multiplied with."""
    image, mask, maps = phantom()
    found = replace(estimate(image, mask, by_intensity, flat_prior(), maps=maps), clear=image + 0.4)
    made = found.restored(torch.full_like(image, 1.2), mask)
    assert made.max() == 1
    assert (made[~mask] == 0).all()
    torch.testing.assert_close(made[mask], (1.2 * (image + 0.4))[mask].clamp(max=1))


def test_blur_is_undone_by_the_filter():
    image, mask, _ = phantom(texture=0.03)
    width = torch.tensor([0.5, 0.8, 0.8])
    query = gaussian_inside(image, mask, width)
    clear = deblur(query, mask, Resolution(width, torch.tensor(1e-3)), mean_spectrum(image, mask, 64))
    assert psnr(clear[:, None], image[:, None]) > psnr(query[:, None], image[:, None]) + 4
