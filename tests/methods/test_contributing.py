"""The worked example of CONTRIBUTING.md, done as it says: the file and the YAML, then the battery."""

import importlib.util
import re
import shutil
from pathlib import Path

import battery
import pytest
import torch

import harmony.methods
from harmony import app
from harmony.core import Stack

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def block(introduction):
    """The code block that follows the text."""
    return re.search(re.escape(introduction) + r"[^\n]*\n\n```\w+\n(.*?)```", PAGE, re.S).group(1)


@pytest.fixture
def build(tmp_path, monkeypatch):
    path = tmp_path / "gain.py"
    path.write_text(block("`src/harmony/methods/gain.py`"))
    spec = importlib.util.spec_from_file_location("harmony.methods.gain", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(harmony.methods, "Gain", module.Gain, raising=False)
    conf = tmp_path / "conf"
    shutil.copytree(app.conf_folder(), conf)
    (conf / "method" / "gain.yaml").write_text(block("`conf/method/gain.yaml`"))
    monkeypatch.setattr(app, "conf_folder", lambda: str(conf))
    app.store_families(str(conf))
    cfg = battery.composed.__wrapped__(())
    cfg.methods = ["gain"]
    networks, reference = battery.networks_of(cfg), battery.reference()
    yield lambda: app.build_methods(cfg, networks, reference, 3.0)["gain"]
    monkeypatch.undo()
    app.store_families()


def test_the_example_passes_the_battery(build):
    battery.check(build)


def test_the_example_does_what_it_says(build):
    query = battery.stack()
    half = Stack(0.5 * query.image, query.mask, query.position)
    torch.testing.assert_close(build().harmonize(half).image, build().harmonize(query).image)


def test_what_the_page_names_is_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make (\w+) ", PAGE)) - {"it"}:
        assert f"\n{target}:" in makefile, target
    for module in re.findall(r"python -m harmony\.(\w+)", PAGE):
        assert (ROOT / "src" / "harmony" / f"{module}.py").exists(), module
    for path in re.findall(r"`((?:tests|src|conf)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists() or re.search("gain|glow|flat", path), path
    rooms = {path.name for path in (ROOT / "src" / "harmony").iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(re.findall(r"`(\w+)`", PAGE))
