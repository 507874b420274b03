"""experiments/rows.py: the rows of runs side by side as one table."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from harmony.core import Row
from harmony.core.results import write_rows

SCRIPT = Path(__file__).parents[2] / "experiments" / "rows.py"


@pytest.fixture
def joined(tmp_path):
    def join(*runs):
        for name, site, *rows in runs:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "config.yaml").write_text(f"data: {{sites: [{site}]}}")
            write_rows(tmp_path / name / "results.csv", [Row("none", *row) for row in rows])
        folders = [str(tmp_path / name) for name, *_ in runs]
        done = subprocess.run([sys.executable, str(SCRIPT), *folders], capture_output=True, text=True, check=False)
        return [(row["domain"], row["value"]) for row in csv.DictReader(done.stdout.splitlines())], done.stderr

    return join


def test_rows_are_joined_and_what_stands_twice_stands_once(joined):
    first, second = ("exp", "sub-1", "psnr", 1 / 3), ("log", "sub-1", "psnr", 2.0)
    rows, _ = joined(("a", "A", first), ("b", "A", first, second))
    assert rows == [("exp", "0.333333"), ("log", "2")]


def test_two_values_of_one_thing_are_refused(joined):
    rows, error = joined(("a", "A", ("exp", "sub-1", "psnr", 1.0)), ("b", "A", ("exp", "sub-1", "psnr", 1.5)))
    assert not rows
    assert "another value" in error


def test_runs_of_several_reference_sites_are_told_apart(joined):
    scored = ("reference", "sub-1", "psnr", 1.0), ("B", "sub-2", "psnr", 2.0)
    rows, _ = joined(("a", "A", *scored), ("c", "C", *scored))
    assert [domain for domain, _ in rows] == ["A into A", "B into A", "C into C", "B into C"]
