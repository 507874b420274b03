"""Are the sites of a data set comparable? Age and sex that follow the site cannot be told from the scanner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
from scipy import stats
from scipy.stats.contingency import association

from harmony.core import Scan

FEWEST = 5  # subjects of a site that is compared
P = 0.01
ETA2, CRAMER = 0.06, 0.3  # Cohen's medium effects: in a large sample a small difference is significant, and harmless


def confounded(scans: Iterable[Scan]) -> Iterator[str]:
    """A sentence for age, one for sex, where they differ between the sites (scanners, where no site is known).

    Age: one-way analysis of variance, correlation ratio eta^2 = between / total sum of squares. Sex: chi^2, Cramer's V.
    Both need p < 0.01, a medium effect, and two sites with five subjects or more whose age or sex is known.
    """
    sites: dict[str, dict[str, Scan]] = defaultdict(dict)
    for scan in scans:
        place = scan.site or scan.scanner
        if place is not None:
            sites[place].setdefault(scan.subject, scan)
    ages = {site: [s.age for s in people.values() if s.age is not None] for site, people in sites.items()}
    ages = {site: found for site, found in ages.items() if len(found) >= FEWEST}
    if len(ages) >= 2:
        eta2, p = correlation_ratio([np.array(found) for found in ages.values()])
        if eta2 >= ETA2 and p < P:
            means = ", ".join(f"{site} {np.mean(found):.0f}" for site, found in ages.items())
            yield f"age follows the site (mean years: {means}; eta^2 {eta2:.2f}, p {p:.1g})"
    sexes = {site: [s.sex for s in people.values() if s.sex is not None] for site, people in sites.items()}
    sexes = {site: found for site, found in sexes.items() if len(found) >= FEWEST}
    if len(sexes) >= 2:
        counts = np.array([[found.count("F"), found.count("M")] for found in sexes.values()])
        v, p = cramers_v(counts)
        if v >= CRAMER and p < P:
            shares = ", ".join(f"{site} {found.count('F') / len(found):.0%}" for site, found in sexes.items())
            yield f"sex follows the site (women: {shares}; Cramer's V {v:.2f}, p {p:.1g})"


def correlation_ratio(groups: list[np.ndarray]) -> tuple[float, float]:
    """eta^2 in [0, 1] and the p-value of the F-test that the groups have one mean; (0, 1) where nothing varies."""
    values = np.concatenate(groups)
    if np.ptp(values) == 0:
        return 0.0, 1.0
    if all(np.ptp(group) == 0 for group in groups):
        return 1.0, 0.0
    f, p = stats.f_oneway(*groups)
    between, within = f * (len(groups) - 1), len(values) - len(groups)  # shares of the sum of squares, times one number
    return float(between / (between + within)), float(p)


def cramers_v(counts: np.ndarray) -> tuple[float, float]:
    """V in [0, 1] of a (sites, 2) table and the p-value of its chi^2 test; (0, 1) where one column is empty."""
    if (counts.sum(0) == 0).any():
        return 0.0, 1.0
    return float(association(counts, method="cramer")), float(stats.chi2_contingency(counts).pvalue)
