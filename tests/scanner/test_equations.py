"""The scanner as a model: fields, fits, filters and what texture says, on volumes whose scanner is known."""

import functools
from dataclasses import replace

import pytest
import torch

from harmony.core import Stack
from harmony.scanner import (
    FIELD_TERMS,
    NONE,
    Contrast,
    Resolution,
    Texture,
    TextureFit,
    TissueIntensity,
    brain_box,
    cubic,
    deblur,
    fit_contrast,
    gaussian_inside,
    intensity_clusters,
    learn_texture,
    mean_spectrum,
    places,
    predicted_error,
    smooth,
    texture,
)

SIZE = (24, 32, 40)


def ball():
    z, y, x = torch.meshgrid(*(torch.linspace(-1.1, 1.1, n) for n in SIZE), indexing="ij")
    return z**2 + y**2 + x**2 < 1


def anatomy(seed):
    """Smooth random structure, coarse and fine, about 0.6."""
    generator = torch.Generator().manual_seed(seed)
    image = 0.6 * torch.ones(SIZE)
    for width, amount in ((3.0, 1.2), (1.0, 0.3), (0.4, 0.05)):
        noise = torch.randn(SIZE, generator=generator)
        image = image + amount * gaussian_inside(noise, torch.ones(SIZE, dtype=torch.bool), torch.full((3,), width))
    return torch.where(ball(), image.clamp(0.05, 1), 0)


def head(seed):
    """Anatomy that darkens to its border, as a brain does to its fluid; else the border is all error."""
    z, y, x = torch.meshgrid(*(torch.linspace(-1.1, 1.1, n) for n in SIZE), indexing="ij")
    depth = (1 - (z**2 + y**2 + x**2).sqrt()).clamp(min=0)
    return anatomy(seed) * (0.1 + 0.9 * (depth / 0.35).clamp(max=1))


def spectrum_of(images):
    return torch.stack([mean_spectrum(image, ball(), 32).log() for image in images]).mean(0).exp()


@functools.cache
def texture_of_heads():
    return learn_texture([texture(head(seed), ball()) for seed in range(8)], 1.1)


def scanned(image, width, noise, seed=0):
    blurred = gaussian_inside(image, ball(), torch.tensor(width))
    grain = torch.randn((2, *SIZE), generator=torch.Generator().manual_seed(seed)) * noise
    return torch.where(ball(), torch.hypot(blurred + grain[0], grain[1]), 0)


def test_a_field_axis_by_axis_is_the_field_voxel_by_voxel():
    mask, coefficients = ball(), torch.randn(2, FIELD_TERMS + 1)
    box = brain_box(mask)
    at = places(box, mask.nonzero())
    torch.testing.assert_close(smooth(coefficients, box)[:, mask], coefficients @ cubic(at).T, atol=1e-4, rtol=1e-4)
    assert at.min() == -1
    assert at.max() == 1


def test_a_fit_finds_gains_and_field_in_spite_of_outliers():
    generator = torch.Generator().manual_seed(0)
    mask = ball()
    at = places(brain_box(mask), mask.nonzero())
    maps = torch.nn.functional.one_hot(torch.randint(3, (len(at),), generator=generator), 3).T.float()
    expected = TissueIntensity(torch.randn(3, FIELD_TERMS + 1, generator=generator) * 0.05, torch.full((3,), 0.1))
    true = Contrast(torch.tensor([-0.1, 0.05, 0.2]), 0.05 * torch.randn(FIELD_TERMS, generator=generator))
    log = expected.log_at(at) + true.log_gains[:, None] + cubic(at)[:, 1:] @ true.field
    image = (maps * log).sum(0).exp() * (0.05 * torch.randn(len(at), generator=generator)).exp()
    image[::20] *= 3  # lesions, vessels: a mean would move by 0.05
    found = fit_contrast(image, maps, at, expected)
    torch.testing.assert_close(found.contrast.log_gains, true.log_gains, atol=0.01, rtol=0)
    torch.testing.assert_close(found.contrast.field, true.field, atol=0.03, rtol=0)
    assert found.spread.mean() == pytest.approx(0.05, rel=0.15)


def test_blur_and_noise_are_read_from_texture():
    model = learn_texture([texture(anatomy(seed), ball()) for seed in range(12)], 1.1)
    width, noise = torch.tensor([0.5, 0.9, 0.9]), 0.03
    fit = model.fit(texture(scanned(anatomy(50), width.tolist(), noise, 1), ball()))
    torch.testing.assert_close(fit.widths, width, atol=0.25, rtol=0)
    assert fit.noise == pytest.approx(noise, rel=0.15)
    still = model.resolution(model.fit(texture(anatomy(3), ball())), spectrum_of([anatomy(1)]))
    assert not still.width.any()
    assert still.noise == 0


def test_a_scan_is_softened_by_as_much_as_it_is_sharper_than_any_untouched_scan():
    width = [0.4, 0.8, 0.8]  # so much that the first search does not reach it
    model = learn_texture([texture(scanned(head(seed), width, 0.0), ball()) for seed in range(12)], 1.1)
    sharp, alike, softer = (
        model.softening(model.fit(texture(scanned(head(50), [share * w for w in width], 0.0), ball())))
        for share in (0.0, 1.0, 1.5)
    )
    torch.testing.assert_close(sharp, torch.tensor(width), atol=0.1, rtol=0)
    assert not alike.any()
    assert not softer.any()


@pytest.mark.parametrize(("sharp", "sharpest"), [(0.1, 0.3), (0.3, 0.1)])
def test_a_scan_is_softened_only_beyond_all_that_untouched_scans_show(sharp, sharpest):
    model = replace(texture_of_heads(), sharp=torch.tensor(sharp), sharpest=torch.tensor(sharpest))

    def softening(width):
        return model.softening(TextureFit(torch.tensor(width), torch.full((3,), width), NONE, 0.0))

    assert not softening(-0.25).any()
    torch.testing.assert_close(softening(-0.35), torch.full((3,), 0.35))


def test_the_sharpest_untouched_scan_is_remembered():
    """One of a scanner's scans may be sharper than all others: it is as its scanner is."""
    sharp = texture(head(0), ball())
    model = learn_texture([sharp, *(texture(scanned(head(k), [0.6] * 3, 0.0), ball()) for k in range(1, 8))], 1.1)
    assert model.fit(sharp).width < -model.sharp
    assert not model.softening(model.fit(sharp)).any()


def test_noise_is_not_told_from_the_detail_of_another_anatomy():
    model = texture_of_heads()
    other = Texture(model.power + torch.randn(512, generator=torch.Generator().manual_seed(0)), torch.ones(()))
    power, floor = model.apart(other)
    assert floor == 0
    assert torch.equal(power, other.power)


def test_the_noise_of_a_reference_is_told_from_its_detail():
    """Before, a scan without that noise looked blurred, whatever it was."""
    noisy = [texture(scanned(head(seed), [0.5] * 3, 0.03, seed), ball()) for seed in range(9)]
    model = learn_texture(noisy[:8], 1.1, texture_of_heads())
    sharp, alike = model.fit(texture(head(50), ball())), model.fit(noisy[8])
    torch.testing.assert_close(sharp.widths, torch.full((3,), -0.5), atol=0.1, rtol=0)
    assert sharp.more_noise == 0
    assert not model.softening(alike).any()
    assert alike.noise == pytest.approx(0.03, rel=0.15)
    assert alike.more_noise < 0.015


@pytest.mark.parametrize("noise", [0.01, 0.02, 0.04, 0.08])
def test_below_the_noise_of_its_reference_a_blurred_scan_is_not_made_worse(noise):
    """The filter of its blur knows all of its noise, not only what is more than the reference's."""
    heads = [scanned(head(seed), [0.0] * 3, 0.04, seed) for seed in range(8)]
    model = learn_texture([texture(each, ball()) for each in heads], 1.1, texture_of_heads())
    spectrum = spectrum_of(heads)
    image, mask = head(50), ball()
    for width in (0.0, 0.6, 1.2):
        scan = scanned(image, [width] * 3, noise)
        found = model.resolution(model.fit(texture(scan, mask)), spectrum)
        before, after = ((x - image)[mask].square().mean() for x in (scan, deblur(scan, mask, found, spectrum)))
        assert after <= 1.01 * before, width
        if width == 0 and noise < 0.04:
            assert torch.equal(deblur(scan, mask, found, spectrum), scan)  # the noise is the reference's own


@pytest.mark.parametrize("blur", [0.0, 0.3, 0.6, 1.0, 1.5, 2.4])
def test_at_no_amounts_of_blur_and_noise_is_the_result_further_from_the_truth_than_the_scan(blur):
    """Before, noise below what untouched scans show was taken for none, and the filter of the blur did not know it."""
    heads = [scanned(head(seed), [0.0] * 3, 0.002 * seed, seed) for seed in range(12)]  # the reference has noise, too
    model = learn_texture([texture(each, ball()) for each in heads], 1.1)
    image, mask, spectrum = head(50), ball(), spectrum_of(heads)
    for width in ([blur] * 3, [0.0, blur, 0.0]):
        for noise in (0.0, 0.004, 0.008, 0.015, 0.023, 0.035, 0.06, 0.12):
            scan = scanned(image, width, noise)
            found = model.resolution(model.fit(texture(scan, mask)), spectrum)
            before, after = ((x - image)[mask].square().mean() for x in (scan, deblur(scan, mask, found, spectrum)))
            assert after <= 1.01 * before, (width, noise)


def test_the_predicted_error_is_the_error_and_the_filter_of_the_truth_has_the_least():
    """Images that have the spectrum: the error of nothing done is (H - 1)^2 S + N, summed over frequencies."""
    spectrum, width = torch.full((32,), 0.04), torch.tensor([0.5, 0.7, 0.0])
    true = Resolution(width, torch.tensor(0.05))
    everywhere = torch.ones(SIZE, dtype=torch.bool)
    image = 0.2 * torch.randn(SIZE, generator=torch.Generator().manual_seed(0))
    blurred = torch.fft.ifftn(torch.fft.fftn(image) * blur_over(SIZE, width)).real
    error = (blurred - image)[everywhere].square().mean() + 0.05**2
    assert predicted_error(None, true, spectrum, NONE) == pytest.approx(float(error), rel=0.03)
    least = predicted_error(true, true, spectrum, NONE)
    others = [Resolution(true.width * f, true.noise * g) for f, g in ((0.7, 1), (1.3, 1), (1, 0.5), (1, 2))]
    assert predicted_error(None, Resolution(0 * width, true.noise), spectrum, true.noise) == 0  # the reference's own
    assert all(least < predicted_error(other, true, spectrum, NONE) for other in others)


def blur_over(size, width):
    axes = torch.meshgrid(*(torch.fft.fftfreq(n) for n in size), indexing="ij")
    return torch.exp(-2 * torch.pi**2 * sum((w * f).square() for w, f in zip(width, axes, strict=True)))


def test_what_no_gaussian_blur_explains_is_a_misfit():
    """Slices of the same resolution: a Gaussian blur, and k-space cut off (Gibbs)."""
    model = learn_texture([texture(anatomy(seed), ball()) for seed in range(12)], 1.1)
    image = anatomy(50)
    kept = torch.fft.fftfreq(SIZE[2]).abs() < 0.2
    ringing = torch.where(ball(), torch.fft.ifft(torch.fft.fft(image) * kept).real, 0)
    blurred = gaussian_inside(image, ball(), torch.tensor([0.0, 0.0, 0.9]))
    untouched, blur, cut = (model.fit(texture(each, ball())).misfit for each in (image, blurred, ringing))
    assert cut > 2 * max(blur, untouched)


def test_texture_does_not_know_the_units_of_a_scan():
    image = anatomy(1)
    whole, half = (texture(factor * image, ball()) for factor in (1.0, 0.5))
    assert isinstance(half, Texture)
    torch.testing.assert_close(half.power, whole.power, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(half.level, 0.5 * whole.level)


def test_deblurring_undoes_most_of_a_blur_and_nothing_where_there_is_none():
    image, mask, width = anatomy(2), ball(), torch.tensor([0.6, 0.8, 0.8])
    blurred = gaussian_inside(image, mask, width)
    spectrum = mean_spectrum(image, mask, 32)
    clear = deblur(blurred, mask, Resolution(width, torch.tensor(0.0)), spectrum)
    inner = gaussian_inside(mask.float(), torch.ones_like(mask), torch.full((3,), 1.5)) > 0.98  # the border rings
    assert (clear - image)[inner].square().mean() < 0.25 * (blurred - image)[inner].square().mean()
    assert (clear[~mask] == 0).all()
    assert deblur(image, mask, Resolution(torch.zeros(3), torch.tensor(0.0)), spectrum) is image


def test_clusters_rise_with_intensity_and_ignore_shading():
    mask = ball()
    z = torch.linspace(-0.3, 0.3, SIZE[0])[:, None, None].expand(SIZE)
    tissue = (torch.arange(SIZE[2]) % 3).expand(SIZE)
    image = torch.where(mask, torch.tensor([0.3, 0.5, 0.8])[tissue] * z.exp(), 0)
    labels = intensity_clusters(image, mask, 3)
    assert (labels[mask] == tissue[mask] + 1).float().mean() > 0.98
    assert (labels[~mask] == 0).all()


def test_a_stack_keeps_its_spacing():
    image = torch.zeros(2, 1, 4, 4)
    stack = Stack(image, image > 0, torch.zeros(2), (4.0, 2.0, 2.0))
    assert stack.to(torch.device("cpu")).spacing == (4.0, 2.0, 2.0)


def test_a_blur_of_resampling_is_no_scanners():
    """A sharp scan that was brought onto the grid has none; one that was blurred before has what it had."""
    model = learn_texture([texture(anatomy(seed), ball()) for seed in range(12)], 1.1)
    ours, own = (0.4, 0.4, 0.5), 0.8
    sharp = texture(scanned(anatomy(50), list(ours), 0.0), ball())
    assert (model.fit(sharp).widths > 0.25).all()
    rest = model.fit(sharp).without(ours)
    assert (rest.widths < 0.2).all()
    assert not model.resolution(rest, spectrum_of([anatomy(1)])).width.any()
    both = [(width**2 + own**2) ** 0.5 for width in ours]
    blurred = model.fit(texture(scanned(anatomy(50), both, 0.0), ball())).without(ours)
    torch.testing.assert_close(blurred.widths, torch.full((3,), own), atol=0.15, rtol=0)
    assert model.fit(sharp).without((0.0, 0.0, 0.0)).widths.equal(model.fit(sharp).widths)
