"""The house: entry points and rooms, nothing else; the config stays at the door; nothing grows too long."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = ROOT / "src" / "harmony"
ENTRIES = {"train", "evaluate", "harmonize", "reference", "study", "check", "report", "dashboard"}
UPPER = [
    *HOUSE.glob("*.py"),
    *(path for room in ("app", "evaluation", "delivery", "cohort", "judges") for path in (HOUSE / room).glob("*.py")),
]


def test_the_top_holds_entry_points_and_rooms():
    assert {path.stem for path in HOUSE.glob("*.py")} == {"__init__", "__main__", *ENTRIES}
    assert all(
        (HOUSE / path.name / "__init__.py").exists()
        for path in HOUSE.iterdir()
        if path.is_dir() and any(path.glob("*.py"))
    )


def test_every_entry_point_and_room_is_on_a_floor_and_there_are_nine_at_most():
    floors = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S).group(1)
    lines = [line for line in floors.splitlines() if line.strip().startswith('"')]
    assert len(lines) <= 9
    named = set(re.findall(r"harmony\.(\w+)", " ".join(line.split("#")[0] for line in lines)))
    rooms = {path.parent.name for path in HOUSE.glob("*/__init__.py")}
    assert named == rooms | ENTRIES


def test_what_is_private_to_hydra_and_omegaconf_is_used_in_one_file():
    private = re.compile(r"hydra\._internal|set_struct|\._(set|get)_(parent|node|flag|full_key)\b|\._metadata\b")
    assert [path.name for path in HOUSE.rglob("*.py") if private.search(path.read_text())] == ["launch.py"]


def test_no_config_object_below_the_door():
    rooms = [path for path in HOUSE.rglob("*.py") if path.parent not in (HOUSE, HOUSE / "app", HOUSE / "cli")]
    assert len(rooms) > 50
    for path in rooms:
        assert not re.search(r"DictConfig|OmegaConf|^(import|from) (hydra|omegaconf)\b", path.read_text(), re.M), path


@pytest.mark.parametrize("path", UPPER, ids=lambda path: str(path.relative_to(HOUSE)))
def test_files_and_functions_of_the_upper_floors_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= (80 if path.stem in ("evaluate", "harmonize") else 300)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert not body or node.end_lineno - body[0].lineno + 1 <= 40, node.name


@pytest.mark.parametrize("name", ["harmonize.py", "evaluation/scoring.py", "delivery/worker.py", "delivery/quality.py"])
def test_what_applies_methods_knows_no_methods_name(name):
    text = (HOUSE / name).read_text().lower()
    methods = {path.stem for path in (ROOT / "conf" / "method").glob("*.yaml")} - {"none"}
    assert not [word for word in {*methods, "scanner"} if re.search(rf"\b{word}\b", text)]


def test_threads_wait_asleep_unless_the_user_says_otherwise():
    """Set before torch is there; what the user has set stays."""
    program = "import harmony, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    rest = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    for extra, policy in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        out = subprocess.check_output([sys.executable, "-c", program], env=rest | extra, text=True)
        assert out.split() == [policy, "False"]
