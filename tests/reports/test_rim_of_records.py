"""What the records measured at the rim, of methods whose networks no test can train: nothing there without a word."""

import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from harmony.core import read_rows

ROOT = Path(__file__).parents[2]
WORSE = 3.0  # dB that the rim may lose more than the middle, where a gain in the middle counts as none


def costs(path):
    """(method, domain), dB against the unharmonized scan at the rim and in the middle: means over subjects. Nothing of
    a record without unharmonized scans."""
    found = defaultdict(list)
    for row in read_rows(path):
        if row.metric in ("psnr_brain_rim", "psnr_brain_middle"):
            found[row.method, row.domain, row.metric].append(row.value)
    mean = {key: fmean(values) for key, values in found.items()}
    for method, domain in sorted({key[:2] for key in mean}):
        own, _, site = domain.partition(" into ")
        if method != "none" and domain != "reference" and own != site and ("none", domain, "psnr_brain_rim") in mean:
            parts = ("psnr_brain_rim", "psnr_brain_middle")
            yield (method, domain), *(mean["none", domain, part] - mean[method, domain, part] for part in parts)


def rows(lost):
    """As docs/rim.md has them, but for the last column, in which people say why."""
    for method in sorted({method for method, _ in lost}):
        domains = {domain: cost for (each, domain), cost in sorted(lost.items()) if each == method}
        spans = [
            sorted({f"{round(value, 1) + 0:.1f}" for value in values}, key=float)
            for values in zip(*domains.values(), strict=True)
        ]
        cells = (
            ", ".join(f"`{domain}`" for domain in domains),
            *(" to ".join(one[:: len(one) - 1 or 1]) for one in spans),
        )
        yield f"| `{method}` | " + " | ".join(cells) + " | "


def test_what_is_lost_at_the_rim_is_said_and_what_is_said_is_so():
    """Where two records have a method and a scanner, the larger loss."""
    lost = {}
    for path in sorted({*ROOT.glob("experiments/*/results*.csv"), *ROOT.glob("experiments/*/results*.csv.gz")}):
        for pair, rim, middle in costs(path):
            if rim > max(middle, 0) + WORSE:
                lost[pair] = max(lost.get(pair, (rim, middle)), (rim, middle))
    table = re.findall(r"^\| `\w+` \| `.*` \|.*\|.*\| (?=.*\|$)", (ROOT / "docs" / "rim.md").read_text(), re.M)
    assert sorted(table) == sorted(rows(lost))
