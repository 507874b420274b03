import pytest
import torch

from harmony.core import ConfigError, Stack
from harmony.judges import BrainAge, Truth
from harmony.networks import AgeNet


def ask(age, bias):
    network = AgeNet(widths=(4,), age_mean=50.0, age_deviation=10.0)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.fill_(bias)
    image = torch.rand(3, 1, 8, 8)
    judge = BrainAge(network=network, training_ages=[40.0, 56.0])
    stack, truth = Stack(image, image > 0, torch.zeros(3)), Truth("sub-1", (1.0, 1.0, 1.0), None, age)
    return judge.score(stack, truth), judge.trivial(stack, truth)


def test_error_and_its_sign_by_hand():
    found, trivial = ask(70.0, 0.5)
    assert found == pytest.approx({"age_predicted": 55.0, "age_error": 15.0, "age_signed_error": -15.0})
    assert trivial == pytest.approx(22.0)


def test_an_unknown_age_has_no_error():
    found, trivial = ask(None, 0.5)
    assert found == pytest.approx({"age_predicted": 55.0})
    assert trivial is None


def test_without_ages_to_compare_with_it_is_refused():
    with pytest.raises(ConfigError, match=r"age needs ages.*leave it out"):
        BrainAge(network=AgeNet(widths=(4,), age_mean=50.0, age_deviation=10.0), training_ages=[])
