"""What the records measured at the rim, of methods whose networks no test can train: nothing there without a word."""

import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from harmony.core import read_rows

ROOT = Path(__file__).parents[2]
WORSE = 3.0  # dB that the rim may lose more than the middle, where a gain in the middle counts as none


def costs(path):
    """(method, domain), dB against the unharmonized scan at the rim and in the middle: means over subjects."""
    found = defaultdict(list)
    for row in read_rows(path):
        if row.metric in ("psnr_brain_rim", "psnr_brain_middle"):
            found[row.method, row.domain, row.metric].append(row.value)
    mean = {key: fmean(values) for key, values in found.items()}
    for method, domain in sorted({key[:2] for key in mean}):
        own, _, site = domain.partition(" into ")
        if method != "none" and domain != "reference" and own != site:
            parts = ("psnr_brain_rim", "psnr_brain_middle")
            yield (method, domain), *(mean["none", domain, part] - mean[method, domain, part] for part in parts)


def said():
    """(method, domain) whose rim docs/rim.md names."""
    rows = re.findall(r"^\| `(\w+)` \| (`.*`) \|", (ROOT / "docs" / "rim.md").read_text(), re.M)
    return {(method, domain) for method, domains in rows for domain in re.findall(r"`([\w.]+)`", domains)}


def test_what_is_lost_at_the_rim_is_said_and_what_is_said_is_so():
    lost = {}
    for path in sorted(ROOT.glob("experiments/*/results*.csv")):
        for pair, rim, middle in costs(path):
            if rim > max(middle, 0) + WORSE:
                lost[pair] = f"{path.parent.name}: {rim:.1f} at the rim, {middle:.1f} in the middle"
    assert lost.keys() == said(), {pair: lost.get(pair, "said alone") for pair in lost.keys() ^ said()}
