"""What the records measured at the rim, of methods whose networks no test can train: nothing there without a word."""

import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import pytest

from harmony.core import read_rows

ROOT = Path(__file__).parents[2]
WORSE = 3.0  # dB that the rim may lose more than the middle
RECORDS = [path for path in sorted(ROOT.glob("experiments/*/results.csv")) if "psnr_brain_rim" in path.read_text()]


def costs(path):
    """(method, domain) -> dB against the unharmonized scan, at the rim and in the middle: means over subjects."""
    found = defaultdict(list)
    for row in read_rows(path):
        if row.metric in ("psnr_brain_rim", "psnr_brain_middle"):
            found[row.method, row.domain, row.metric].append(row.value)
    mean = {key: fmean(values) for key, values in found.items()}
    for method, domain in sorted({key[:2] for key in mean}):
        if method != "none" and domain != "reference":
            parts = ("psnr_brain_rim", "psnr_brain_middle")
            yield method, domain, *(mean["none", domain, part] - mean[method, domain, part] for part in parts)


def said():
    """(method, domain) whose rim docs/rim.md names."""
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", (ROOT / "docs" / "rim.md").read_text(), re.M)
    return set(rows)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_no_method_of_a_record_loses_the_rim_without_a_word(path):
    lost = {(method, domain) for method, domain, rim, middle in costs(path) if rim > max(middle, 0) + WORSE}
    assert lost <= said()


def test_the_record_of_scanner_inversion_has_methods_with_trained_networks():
    methods = {method for path in RECORDS for method, *_ in costs(path)}
    assert {"scanner_inversion"} <= methods


def test_what_is_said_of_a_rim_is_so():
    measured = {(method, domain) for path in RECORDS for method, domain, *_ in costs(path)}
    assert said() <= measured
