"""The tables "what differs from the paper" say what the configuration holds."""

import re
from pathlib import Path

import pytest
import yaml
from configs import composed
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]
PAGES = ("blindharmony", "harmonizing_flows")
SAID = [
    (page, *found)
    for page in PAGES
    for found in re.findall(r"`(\w+): ([\w.]+)=([^`]+)`", (ROOT / "docs" / f"{page}.md").read_text())
    if found[0] != "experiment"
]


def config(experiment):
    return composed(*([] if experiment == "config" else [f"experiment={experiment}"]))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_much(page):
    assert sum(said[0] == page for said in SAID) > 10


@pytest.mark.parametrize(("page", "experiment", "key", "value"), SAID)
def test_what_a_page_says_is_what_the_configuration_holds(page, experiment, key, value):
    parent, name = key.rsplit(".", 1)
    node = OmegaConf.select(config(experiment), parent)
    assert node is not None, parent
    assert name in node
    wanted = yaml.safe_load(value)
    wanted = float(wanted) if re.fullmatch(r"[\d.]+e-?\d+", str(wanted)) else wanted
    assert node[name] == wanted
    assert isinstance(node[name], bool) == isinstance(wanted, bool)
