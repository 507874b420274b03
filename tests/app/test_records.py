"""Recipes and records belong together: what a record claims can be run again."""

import re
from pathlib import Path

import pytest

from harmony.report import families

ROOT = Path(__file__).parents[2]
RECORDS = sorted(path.parent for path in (ROOT / "experiments").glob("*/README.md"))
RECIPES = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_a_record_says_how_it_was_made(record):
    text = (record / "README.md").read_text()
    for heading in ("## Claim", "## Command", "## Result", "## Verdict"):
        assert heading in text, heading
    for word in ("Hardware", "Seed", "Time", "Commit"):
        assert f"{word}:" in text, word
    named = set(re.findall(r"experiment=(\w+)", text))
    assert named <= RECIPES
    scripts = re.findall(r"python ((?:benchmarks|experiments/\w+)/\w+\.py)", text)
    assert all((ROOT / script).exists() for script in scripts)
    modules = re.findall(r"python -m harmony\.(\w+)", text)
    assert all((ROOT / "src" / "harmony" / f"{module}.py").exists() for module in modules)
    assert record.name in RECIPES or scripts or modules
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (record / picture).exists(), picture


def test_a_large_table_of_a_record_is_packed():
    large = [path for path in (ROOT / "experiments").glob("*/*.csv") if path.stat().st_size > 2e6]
    assert not large, "gzip -9n FILE"


def test_the_readme_points_at_what_is_there():
    text = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or (ROOT / link).exists(), link
    for name in re.findall(r"experiment=(\w+)", text):
        assert name in RECIPES, name
    known = {*families()["method"], *families()["judge"]}
    methods = (ROOT / "docs" / "methods.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", methods, flags=re.M)) == known
