"""What counts how much in the fits of contrast and of texture, against sums by hand."""

import math

import numpy as np
import pytest
import torch
from brains import by_intensity, flat_prior, phantom
from scipy.optimize import brentq

from harmony.scanner import (
    Resolution,
    Texture,
    TextureFit,
    TextureModel,
    TissueIntensity,
    deblur,
    estimate,
    fit_contrast,
    gaussian_inside,
    intensity_clusters,
    mean_spectrum,
    network_input,
    texture,
)
from harmony.scanner.contrast import TUKEY
from harmony.scanner.resolution import cell_frequencies

FREQUENCY = cell_frequencies().square().sum(0).sqrt()
MODEL = TextureModel(-6 - 4 * FREQUENCY, torch.full((512,), 0.2), torch.tensor(0.3), torch.tensor(0.01))
ONE = TissueIntensity(torch.zeros(1, 20), torch.ones(1))  # a tissue of intensity 1 everywhere


def fitted(log, maps):
    """The gain of one tissue, of voxels that are all in the middle of the brain: no field."""
    return fit_contrast(log.exp(), maps[None], torch.zeros(len(log), 3), ONE).contrast


def test_a_half_voxel_counts_an_eighth_of_a_pure_one():
    """So many of either, far enough scattered that none is an outlier: the weighted mean of 0 and 0.1."""
    scatter = torch.tensor([-0.5, 0.5]).repeat(2000)
    log = torch.cat((scatter, scatter + 0.1))
    maps = torch.cat((torch.ones(4000), torch.full((4000,), 0.5)))
    assert float(fitted(log, maps).log_gains) == pytest.approx(0.1 * 0.125 / 1.125, rel=0.1)


def test_what_a_brain_leaves_open_is_no_shading():
    contrast = fitted(torch.full((500,), -0.2), torch.ones(500))
    assert float(contrast.log_gains) == pytest.approx(-0.2, rel=0.01)
    assert (contrast.field == 0).all()


def test_outliers_count_as_tukeys_biweight_says():
    """The root of sum r (1 - (r / c s)^2)^2 over the residuals within c s, s the median of their size."""
    draw = np.random.default_rng(0)
    values = np.concatenate([draw.normal(0, 0.05, 4000), draw.normal(0.3, 0.1, 1800)])

    def off(gain):
        residual = values - gain
        share = residual / (TUKEY * 1.4826 * np.median(np.abs(residual)))
        return (residual * (1 - share**2) ** 2)[np.abs(share) < 1].sum()

    gain = float(fitted(torch.from_numpy(values).float(), torch.ones(len(values))).log_gains)
    assert gain == pytest.approx(brentq(off, -0.05, 0.1), abs=2e-3)


def changed(where, by):
    return Texture(torch.where(where, MODEL.power + by, MODEL.power), torch.tensor(1.0))


def test_coarse_detail_is_no_texture():
    """Of a scan that is the reference but for its coarsest detail nothing is found, and nothing amiss."""
    same, coarse = (MODEL.fit(changed(FREQUENCY < 0.14, by)) for by in (0.0, 4.0))
    torch.testing.assert_close(coarse.widths, same.widths, atol=1e-3, rtol=0)
    assert coarse.misfit == pytest.approx(same.misfit, abs=1e-3)


def test_a_misfit_is_of_detail_that_stands_above_noise():
    sign = torch.where(torch.arange(512) % 2 == 0, 1.0, -1.0)  # no blur and no noise explain it
    clear, hidden = (FREQUENCY > 0.14) & (FREQUENCY < 0.35), FREQUENCY > 0.4
    seen, unseen = (MODEL.fit(changed(where, 0.5 * sign)).misfit for where in (clear, hidden))
    assert seen == pytest.approx(0.5 / math.hypot(0.2, 0.05), rel=0.1)
    assert unseen < 0.3 * seen


def test_an_axis_on_which_a_scan_is_sharper_is_not_sharpened():
    """Not where noise makes a filter of more blur look good either. And blur is what is beyond the reference's:
    variances add up."""
    fit = TextureFit(torch.tensor(0.7), torch.tensor([-0.5, 0.8, 1.0]), torch.tensor(0.24), 0.1)
    spectrum = 0.68 * torch.logspace(0, -1.4, 32)
    assert MODEL.resolution(fit, spectrum).width.tolist() == pytest.approx([0, math.sqrt(0.55), math.sqrt(0.91)])


def test_the_texture_of_even_tissue_is_nothing():
    """However bright: the mean of the neighbourhood is no detail."""
    image, mask, _ = phantom(texture=0.0)
    even = torch.where(mask, 0.6 * torch.ones_like(image), 0)
    assert (texture(even, mask).power < -20).all()


def test_a_head_does_not_meet_itself_at_the_ends():
    """A blur of a volume is that of the same volume in the middle of a larger one."""
    generator = torch.Generator().manual_seed(0)
    image, mask = torch.rand((16, 20, 24), generator=generator), torch.ones((16, 20, 24), dtype=torch.bool)
    width = torch.full((3,), 1.2)
    around = [8] * 6
    larger = torch.nn.functional.pad(image, around), torch.nn.functional.pad(mask, around)
    expected = gaussian_inside(*larger, width)[8:-8, 8:-8, 8:-8]
    torch.testing.assert_close(gaussian_inside(image, mask, width), expected, atol=2e-3, rtol=0)


def test_what_overshoots_in_the_filter_is_cut_off():
    image, mask, _ = phantom()
    spots = torch.where(mask & (torch.arange(40) % 5 == 0), 1.0, 0.3 * image)
    resolution = Resolution(torch.full((3,), 0.8), torch.tensor(0.0))
    prior = flat_prior()
    raw = deblur(spots, mask, resolution, prior.spectrum)
    assert raw.max() > 1.6
    assert raw.min() < 0
    clear = estimate(spots, mask, by_intensity, prior, resolution=resolution).clear
    torch.testing.assert_close(clear, raw.clamp(0, 1.5))


def test_the_network_is_given_both_and_nothing_beyond_the_brain():
    image, mask, _ = phantom()
    both = network_input(image + 0.1, image + 0.2, mask)
    torch.testing.assert_close(both[:, mask], torch.stack((image + 0.1, image + 0.2))[:, mask])
    assert (both[:, ~mask] == 0).all()


def test_evidence_is_all_that_tells_a_scanner_from_none():
    image, mask, _ = phantom()
    scan = estimate(image, mask, by_intensity, flat_prior())
    numbers = [*scan.fit.contrast.theta, *scan.fit.spread.log(), scan.texture.width, scan.texture.noise]
    assert scan.evidence.tolist() == pytest.approx([float(number) for number in numbers])


def test_clusters_ignore_a_shading_that_hides_them():
    _, mask, _ = phantom()
    z = torch.linspace(-0.45, 0.45, mask.shape[0])[:, None, None].expand(mask.shape)
    tissue = (torch.arange(mask.shape[2]) % 3).expand(mask.shape)
    image = torch.where(mask, torch.tensor([0.3, 0.5, 0.8])[tissue] * z.exp(), 0)
    assert (intensity_clusters(image, mask, 3)[mask] == tissue[mask] + 1).float().mean() > 0.97


def test_a_spectrum_is_the_power_of_a_wave_at_its_frequency():
    x = torch.arange(64)
    image = torch.cos(2 * torch.pi * 0.25 * x).expand(32, 32, 64)
    spectrum = mean_spectrum(image, torch.ones_like(image, dtype=torch.bool), 32)
    assert int(spectrum.argmax()) == round(0.25 / (math.sqrt(3) / 2) * 31)


@pytest.mark.parametrize("blur", [1.0, 1.5])
def test_a_blur_under_noise_is_not_taken_for_contrast(blur):
    """A texture made by the model's own equation; from the first start alone the fit ends in sharpness."""
    noise, scatter = 0.02, 0.1 * torch.randn(512, generator=torch.Generator().manual_seed(0))
    blurred = MODEL.power - 4 * math.pi**2 * (blur * FREQUENCY) ** 2
    power = torch.logaddexp(blurred, torch.tensor(2 * math.log(noise))) + scatter
    fit = MODEL.fit(Texture(power, torch.tensor(1.0)))
    assert float(fit.width) == pytest.approx(blur, rel=0.1)
    assert float(fit.noise) == pytest.approx(noise, rel=0.05)
    assert fit.misfit < 1
