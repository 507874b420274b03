"""What a prior makes of a fit, and that it is the same when it comes back from its file."""

from dataclasses import replace

import pytest
import torch
from brains import flat_prior, neutral_prior, scanner
from safetensors.torch import load_file, save_file

from harmony.core import CheckpointError
from harmony.scanner import Contrast, Prior

ANY = 0.9  # probability that a scanner has gains, and that it has a shading


def test_shrinkage_keeps_what_scanners_do_and_drops_what_subjects_do():
    prior = flat_prior()
    contrast = scanner()
    nothing = replace(prior, own_covariance=1e6 * torch.eye(22)).shrunk(contrast, ANY).contrast
    everything = replace(prior, own_covariance=1e-9 * torch.eye(22)).shrunk(contrast, ANY).contrast
    assert nothing.theta.abs().max() < 1e-6
    torch.testing.assert_close(everything.theta, contrast.theta, atol=1e-5, rtol=1e-5)
    usual = replace(prior, own=contrast.theta).shrunk(contrast, ANY).contrast  # what subjects have is no scanner's
    assert usual.theta.abs().max() < 1e-6


def test_shrinkage_is_the_posterior_mean_of_scanners_that_have_gains_or_shading_or_not():
    """Against draws: of all scanners and subjects that give nearly this fit, the mean of what the scanner did."""
    draw = torch.Generator().manual_seed(0)
    count, own, scanners = 400_000, torch.full((22,), 0.02), torch.full((22,), 0.08)
    has = torch.rand((count, 2), generator=draw) < ANY
    on = torch.cat((has[:, :1].expand(-1, 3), has[:, 1:].expand(-1, 19)), dim=1)
    prior = replace(flat_prior(), own_covariance=torch.diag(own**2), scanners=scanners**2)
    did = on * scanners * torch.randn((count, 22), generator=draw)
    near = 0.01  # of the fit, normally: as if so much of what subjects have came after the draw
    theta = did + (own**2 - near**2).sqrt() * torch.randn((count, 22), generator=draw)
    fit = torch.zeros(22)
    fit[:3] = torch.tensor([0.05, -0.03, 0.02])  # gains that may be the subject's; a shading of any size is not
    fit[5] = 0.09
    weight = (-0.5 * ((theta[:, :3] - fit[:3]) / near).square().sum(1)).exp()  # the coefficients are independent
    found = prior.shrunk(Contrast.of(fit), ANY)
    expected = (weight[:, None] * did[:, :3]).sum(0) / weight.sum()
    torch.testing.assert_close(found.contrast.log_gains, expected, atol=4e-3, rtol=0)
    assert found.gains_probability == pytest.approx(float((weight * has[:, 0]).sum() / weight.sum()), abs=0.05)
    spread = ((weight[:, None] * did[:, :3].square()).sum(0) / weight.sum() - expected.square()).sqrt()
    torch.testing.assert_close(found.deviation[:3], spread, atol=4e-3, rtol=0)
    quiet = prior.shrunk(Contrast.of(0.3 * fit), ANY)
    assert quiet.gains_probability < 0.2
    assert found.gains_probability > 0.5
    assert quiet.contrast.theta.norm() < 0.1 * found.contrast.theta.norm()


def test_a_usual_fit_is_as_unlikely_as_one():
    """Fits drawn of scanners and subjects; the mean of their squared sizes."""
    prior = replace(flat_prior(), own=torch.full((22,), 0.3), own_covariance=0.03 * torch.eye(22))
    deviation = (prior.scanners + 0.03).sqrt()
    draws = prior.own + deviation * torch.randn((500, 22), generator=torch.Generator().manual_seed(0))
    sizes = [prior.unlikeliness(Contrast.of(theta)) for theta in draws]
    assert sum(sizes) / len(sizes) == pytest.approx(1, abs=0.05)
    assert prior.unlikeliness(Contrast.of(prior.own + 3 * deviation)) == pytest.approx(9, rel=1e-4)


@pytest.mark.parametrize("tissues", [("csf", "grey", "white"), ("csf", "cortex", "deep", "white")])
def test_a_prior_comes_back_from_its_file_as_it_was(tmp_path, tissues):
    prior = neutral_prior(tissues)
    prior = replace(prior, own=torch.arange(19.0 + len(tissues)), raw=replace(prior.raw, limit=torch.tensor(7.0)))
    prior.save(tmp_path / "prior.safetensors")
    again = Prior.load(tmp_path / "prior.safetensors")
    assert again.tissues == tissues
    for name in ("spectrum", "own", "own_covariance", "scanners"):
        assert torch.equal(getattr(again, name), getattr(prior, name)), name
    for part in ("expected", "texture", "raw", "matched"):
        for name, value in vars(getattr(prior, part)).items():
            assert torch.equal(getattr(getattr(again, part), name), value), (part, name)


def test_what_is_no_prior_is_refused_with_its_path(tmp_path):
    path, prior = tmp_path / "prior.safetensors", neutral_prior()
    prior.save(path)
    whole, other = path.read_bytes(), tmp_path / "other.safetensors"
    tensors = load_file(path)
    names = {"tissues": '["csf", "grey", "white"]'}
    wrong = {
        "no names": lambda: save_file(tensors, other),
        "of two tissues": lambda: save_file(tensors, other, {"tissues": '["csf", "white"]'}),
        "a part missing": lambda: save_file({k: v for k, v in tensors.items() if k != "raw.limit"}, other, names),
        "a part too many": lambda: save_file(tensors | {"strange.limit": torch.ones(())}, other, names),
        "damaged": lambda: other.write_bytes(whole[:100]),
        "missing": other.unlink,
    }
    for what, make in wrong.items():
        make()
        with pytest.raises(CheckpointError, match=r"other.safetensors.*train it again") as error:
            Prior.load(other)
        assert "\n" not in str(error.value), what
