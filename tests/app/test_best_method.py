"""Where nobody says a method, harmonize does the best that the model serves."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from harmony.app import conf_folder
from harmony.app.best import BEST_FIRST, best_method, choose


@pytest.mark.parametrize(
    ("stages", "best"),
    [
        ({"tissue": "folder"}, "scanner_inversion"),
        (["harmonizer", "tissue"], "scanner_inversion"),
        ([], "histogram_matching"),
        (["harmonizer"], "histogram_matching"),
    ],
)
def test_it_is_the_first_whose_networks_are_there(stages, best):
    assert best_method(stages) == best


def test_a_method_that_was_said_stays():
    said = OmegaConf.create({"method_name": "nyul", "method": {"percentiles": [1, 99]}})
    choose(said, ["tissue"])
    assert said == {"method_name": "nyul", "method": {"percentiles": [1, 99]}}
    silent = OmegaConf.create({"method_name": None})
    choose(silent, ["tissue"])
    assert silent.method_name == "scanner_inversion"
    assert silent.method._target_ == "harmony.methods.ScannerInversion"


@pytest.mark.parametrize("name", BEST_FIRST)
def test_none_of_them_builds_on_another(name):
    node = yaml.safe_load(Path(conf_folder(), "method", f"{name}.yaml").read_text())
    assert "defaults" not in node
