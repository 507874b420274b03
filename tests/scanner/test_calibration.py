"""What is learned of a reference scanner, on phantoms of known tissues; of another one through the same network."""

from types import SimpleNamespace

import pytest
import torch
from brains import (
    LEVELS,
    TISSUES,
    by_intensity,
    histograms,
    labelled,
    phantom,
    scanned,
    scanner,
    stack,
    volume,
)

from harmony.core import DataError
from harmony.methods import ScannerInversion
from harmony.metrics import psnr
from harmony.scanner import (
    Calibration,
    Untouched,
    cluster_labels,
    estimate,
    given_labels,
    learn_intensity,
    learn_spectrum,
    learn_untouched,
    mean_spectrum,
    network_labels,
    one_hot,
    scanner_variance,
)
from harmony.scanner.calibration import covariance

SETTINGS = Calibration(frequencies=32, every=1, margin=1.1)


def learned(volumes, held_out=(), *, network=by_intensity, labelling=given_labels, tissues=TISSUES, settings=SETTINGS):
    return settings.learn(
        volumes,
        held_out,
        network=network,
        labelling=labelling,
        reference=histograms(*volumes),
        tissues=tissues,
        scanners=scanner_variance(len(tissues), gain=0.2, shading=0.25),
    )


@pytest.mark.parametrize("labelling", [given_labels, cluster_labels(3), network_labels(by_intensity)])
def test_mean_intensities_of_the_tissues_are_learned(labelling):
    expected = learn_intensity([labelled(k) for k in range(3)], labelling, 3)
    top = labelled(0).image.max()
    torch.testing.assert_close(expected.coefficients[:, 0].exp(), LEVELS * top, atol=0.03, rtol=0)
    assert (expected.spread < 0.03).all()


def test_labels_are_asked_for_where_there_are_none():
    unlabelled = labelled(0)
    with pytest.raises(DataError, match="clusters=true"):
        learned([volume(unlabelled.image, unlabelled.mask)] * 3)


def test_an_untouched_volume_looks_untouched_and_a_scanned_one_does_not():
    prior = learned([labelled(k) for k in range(5)], [labelled(10)])
    new = labelled(20)
    untouched = estimate(new.image, new.mask, by_intensity, prior)
    maps = one_hot(new.labels, 3)
    touched = estimate(scanned(new.image, new.mask, maps, scanner()), new.mask, by_intensity, prior)
    assert prior.raw.distance(untouched.evidence) < 2
    assert prior.raw.distance(touched.evidence) > 20
    assert not untouched.resolution.width.any()
    assert prior.own_covariance.diagonal().min() > 0
    assert len(prior.spectrum) == 32


def test_held_out_volumes_count_among_the_untouched_and_for_nothing_else():
    volumes, others = [labelled(k) for k in range(4)], [labelled(k) for k in (4, 5)]
    half = learned(volumes, others, settings=Calibration(frequencies=32, every=2, margin=1.1))
    assert torch.equal(half.expected.coefficients, learn_intensity(volumes, given_labels, 3).coefficients)
    assert torch.equal(half.spectrum, learn_spectrum(volumes, 32))
    theta = [estimate(v.image, v.mask, by_intensity, half).fit.contrast.theta for v in (*volumes[::2], *others)]
    torch.testing.assert_close(half.own, torch.stack(theta).mean(0))


def test_of_two_scans_nothing_is_learned():
    with pytest.raises(DataError, match="2 scans of the reference scanner"):
        learned([labelled(0)], [labelled(1)])


def test_another_scanner_becomes_the_reference_through_the_same_network():
    """No labels, no training: volumes of a scanner with its own contrast, the network's maps of them; then a scan of
    the first scanner is brought into the second."""
    contrast = scanner(2.0)

    def second(seed):
        first = labelled(seed)
        image = scanned(first.image, first.mask, one_hot(first.labels, 3), contrast).clamp(max=1)
        return volume(image, first.mask, name=str(seed))

    volumes = [second(seed) for seed in range(5)]
    prior = learned(volumes, labelling=network_labels(by_intensity))
    method = ScannerInversion(
        shading="reference",
        map_network=by_intensity, prior=prior, reference=histograms(*volumes), percentile=100.0, any_probability=0.9,
        nearer=0.0, matching=0.0, most_noise=1.0, widest=5.0, unlikely=1e9, misfit=1e9,
    )  # fmt: skip
    first, wanted = labelled(30), second(30)
    result = method.harmonize(stack(first.image, first.mask))
    before = psnr(first.image[:, None], wanted.image[:, None])
    assert result.report.decision == "inverted"
    assert psnr(result.image, wanted.image[:, None]) > before + 6
    same = method.harmonize(stack(wanted.image, wanted.mask))
    assert psnr(same.image, wanted.image[:, None]) > 35


def test_four_tissues_are_learned_as_three_are():
    levels = torch.tensor([0.25, 0.45, 0.7, 1.0])
    prior = learned(
        [labelled(k, levels) for k in range(5)],
        network=lambda volume: by_intensity(volume, levels),
        tissues=("csf", "cortex", "deep", "white"),
    )
    assert prior.own.shape == (23,)
    assert prior.raw.precision.shape == (29, 29)
    top = labelled(0, levels).image.max()
    torch.testing.assert_close(prior.expected.coefficients[:, 0].exp(), levels * top, atol=0.04, rtol=0)


def test_the_variance_of_scanners_is_that_of_the_scanners_that_are_drawn():
    """log gain and field of a deviation from U(0, a), normal: E = a^2 / 3; the field over its scale and number."""
    variance = scanner_variance(3, gain=0.3, shading=0.0)
    assert variance[:3].tolist() == pytest.approx([0.03] * 3)
    assert not variance[3:].any()
    first_degree = scanner_variance(3, gain=0.0, shading=0.3)[3]  # the first monomial is x: mean square 1 / 3
    assert float(first_degree) == pytest.approx(0.03 / 19 * 3, rel=1e-5)


def test_a_covariance_is_mixed_with_its_diagonal():
    samples = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]])
    expected = torch.tensor([[1.0, 0.7 * 2.0], [0.7 * 2.0, 4.0]])
    torch.testing.assert_close(covariance(samples), expected)


def test_a_covariance_is_pooled_with_what_is_known_of_another_scanner():
    """In proportion: variances are 1 and 4 where 5 and 20 are usual."""
    samples, usual = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]]), torch.tensor([[5.0, 1.0], [1.0, 20.0]])
    own = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    torch.testing.assert_close(covariance(samples, usual), (3 * own + 40 * 0.2 * usual) / 43)


def test_by_what_is_known_of_another_scanner_twenty_scans_tell_what_is_off():
    draw = torch.Generator().manual_seed(0)
    mixing = torch.randn(27, 27, generator=draw)
    usual = mixing @ mixing.T
    known = Untouched(torch.zeros(27), torch.linalg.inv(usual), torch.ones(()))
    old, new = (torch.randn(count, 27, generator=draw) @ mixing.T for count in (20, 200))
    scans = [SimpleNamespace(evidence=row) for row in old]
    alone, pooled = learn_untouched(scans, 1.1), learn_untouched(scans, 1.1, known)
    assert pooled.limit < 0.8 * alone.limit
    off = new + 3 * torch.linalg.eigh(usual).eigenvectors[:, :8].sum(1)  # little, in what people hardly differ by
    assert sum(pooled.distance(row) > 1 for row in new) < 0.15 * len(new)
    assert sum(pooled.distance(row) > 1 for row in off) > 0.9 * len(off)
    assert sum(alone.distance(row) > 1 for row in off) < 0.5 * len(off)


def test_the_limit_of_untouched_scans_holds_for_scans_that_it_was_not_learned_on():
    """In 27 numbers 40 volumes fit their own covariance far too well: by it most new scans would look touched."""
    draw = torch.Generator().manual_seed(0)
    old, new = torch.randn(40, 27, generator=draw), torch.randn(200, 27, generator=draw)
    untouched = learn_untouched([SimpleNamespace(evidence=row) for row in old], 1.0)
    assert sum(untouched.distance(row) > 1 for row in new) < 0.1 * len(new)
    assert all(untouched.distance(row) > 1 for row in 3 * new)
    odd = torch.cat((old, 5 * new[:1]))  # does not set it
    assert float(learn_untouched([SimpleNamespace(evidence=row) for row in odd], 1.0).limit) < 1.5 * float(
        untouched.limit
    )


def test_the_spectrum_of_a_reference_is_the_geometric_mean():
    """One restless scan does not set it."""
    still, restless = labelled(0), volume(*phantom(1, texture=0.2)[:2])
    spectra = [mean_spectrum(scan.image, scan.mask, 16) for scan in (still, restless)]
    torch.testing.assert_close(learn_spectrum([still, restless], 16), (spectra[0] * spectra[1]).sqrt())


def test_a_network_labels_the_brain_and_no_more():
    scan = labelled(0)
    labels = network_labels(by_intensity)(scan)
    assert (labels[~scan.mask] == 0).all()
    assert (labels[scan.mask] == scan.labels[scan.mask]).float().mean() > 0.99
