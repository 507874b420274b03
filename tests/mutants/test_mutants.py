"""The table of mutations stays true while the code moves. Whether tests notice them: `make mutants`."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TABLE = yaml.safe_load(Path(__file__).with_name("table.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TABLE)
def test_what_is_broken_is_there_once(name):
    entry = TABLE[name]
    text = (ROOT / "src" / "harmony" / entry["file"]).read_text(encoding="utf-8")
    assert text.count(entry["old"]) == 1
    assert entry["new"] != entry["old"]
    assert all((ROOT / word.split("::")[0]).exists() for word in entry["test"].split() if word.startswith("tests/"))
