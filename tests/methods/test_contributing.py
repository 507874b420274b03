"""The worked examples of CONTRIBUTING.md, done as it says: the file and the YAML, then the battery and their laws."""

import importlib.util
import pickle
import re
import shutil
from pathlib import Path

import battery
import numpy as np
import pytest
import torch

import harmony.methods
from harmony import app
from harmony.core import Stack
from harmony.core.batch import draws
from harmony.networks import Translator

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def block(introduction):
    """The code block that follows the text."""
    return re.search(re.escape(introduction) + r"[^\n]*\n\n```\w+\n(.*?)```", PAGE, re.S).group(1)


def example(folder, name):
    """The module `src/harmony/NAME.py` of the page."""
    path = folder / "example.py"
    path.write_text(block(f"`src/harmony/{name}.py`"))
    spec = importlib.util.spec_from_file_location(f"harmony.{name.replace('/', '.')}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.setattr(harmony.methods, "Gain", example(tmp_path, "methods/gain").Gain, raising=False)
    conf = tmp_path / "conf"
    shutil.copytree(app.conf_folder(), conf)
    (conf / "method" / "gain.yaml").write_text(block("`conf/method/gain.yaml`"))
    monkeypatch.setattr(app, "conf_folder", lambda: str(conf))
    app.store_families(str(conf))
    cfg = pickle.loads(battery.small.__wrapped__(()))
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


def test_the_examples_loss_by_hand_and_the_same_slices_in_every_validation(tmp_path):
    identity = Translator(widths=[4, 4], residual_units=1)  # as long as it is new
    task = example(tmp_path, "tasks/undo").UndoTask(network=identity, optimizer=torch.optim.Adam, reach=0.5, seed=0)
    image = torch.rand(3, 1, 8, 8, generator=draws(1, 0))
    batch = {"image": image, "mask": image > 0.1}
    gamma = 2 ** (torch.rand(3, 1, 1, 1, generator=draws(0, 5)) - 0.5)
    wanted = 255 * (image**gamma - image)[batch["mask"]].abs().mean()
    torch.testing.assert_close(task.error(batch, draws(0, 5)), wanted)
    assert task.error(batch, draws(0, 5)) == task.error(batch, draws(0, 5)) != task.error(batch, draws(0, 6))
    task.reach = 0.0
    assert task.error(batch, draws(0, 5)) == 0


def test_the_example_scanner_adds_one_wave_and_nothing_at_strength_0(tmp_path):
    striped = example(tmp_path, "data/simulation/stripes").striped
    image = torch.full((2, 48, 40), 0.5)
    assert torch.equal(striped(image, None, 0.0, np.random.default_rng(0)), image)
    waves = torch.fft.fft2(striped(image, None, 0.1, np.random.default_rng(0)) - image).abs() / (48 * 40)
    row, column = divmod(int(waves[0].argmax()), 40)
    assert 4 <= min(row, 48 - row) <= 12
    assert 4 <= min(column, 40 - column) <= 12
    ordered = waves.flatten(1).sort().values
    torch.testing.assert_close(ordered[:, -2:], torch.full((2, 2), 0.05))  # a cosine: the frequency and its opposite
    assert ordered[:, :-2].max() < 1e-6


def test_what_the_page_names_is_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make (\w+) ", PAGE)) - {"it"}:
        assert f"\n{target}:" in makefile, target
    for module in re.findall(r"python -m harmony\.(\w+)", PAGE):
        assert (ROOT / "src" / "harmony" / f"{module}.py").exists(), module
    for path in re.findall(r"`((?:tests|src|conf)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists() or re.search("gain|glow|flat|undo|stripes", path), path
    rooms = {path.name for path in (ROOT / "src" / "harmony").iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(re.findall(r"`(\w+)`", PAGE))
