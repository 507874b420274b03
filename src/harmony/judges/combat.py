"""ComBat (Johnson et al. 2007; Fortin et al. 2017, 2018): harmonizes numbers measured on images, not the images.

What the judges measure (tissue volumes, features of brain age) is put on one scale across sites. Unlike the methods of
`harmony.methods` it needs subjects of *both* sites, and can say nothing about a scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harmony.core import DataError

CONVERGED = 1e-6  # change of the estimates, in standard deviations, at which their iteration ends
ROUNDS = 1000


@dataclass(frozen=True)
class ComBat:
    """y* = a + x b + s (z - g_i) / sqrt(d_i), with z = (y - a - x b) / s, for a subject of site i with covariates x.

    sites: their names. level a (F,), spread s (F,), slopes b (K, F): of all sites, or of the reference site.
    shift g (sites, F) and scale d (sites, F): what a site adds to z, and the variance it gives to z.
    """

    sites: tuple[str, ...]
    level: np.ndarray
    spread: np.ndarray
    slopes: np.ndarray
    shift: np.ndarray
    scale: np.ndarray

    def apply(self, features: np.ndarray, site: Sequence[str], covariates: np.ndarray | None = None) -> np.ndarray:
        """New or old subjects of the fitted sites: (N, F), (N,), (N, K) -> (N, F). Raises DataError for a new site."""
        features, which, covariates = _table(features, site, covariates, self.sites)
        if (features.shape[1], covariates.shape[1]) != (len(self.level), len(self.slopes)):
            raise DataError(
                f"{features.shape[1]} features and {covariates.shape[1]} covariates, fitted were {len(self.level)} and "
                f"{len(self.slopes)}",
                cure="give apply what fit was given",
            )
        expected = self.level + covariates @ self.slopes
        standard = (features - expected) / self.spread
        return expected + self.spread * (standard - self.shift[which]) / np.sqrt(self.scale[which])


def fit_combat(
    features: np.ndarray,
    site: Sequence[str],
    covariates: np.ndarray | None = None,
    *,
    reference: str | None = None,
    empirical_bayes: bool = True,
) -> ComBat:
    """Fit on (N, F) features of N subjects; the effect of the covariates (N, K), such as age, is kept.

    reference: a site that stays as it is, and to whose level and spread the others are brought; None for their pool.
    empirical_bayes: shrink each site's shifts and scales towards their mean over the features; False takes them as
        measured. Raises DataError for fewer than 2 subjects in a site, features without variance there, covariates that
        the sites explain, and for fewer than 2 features to shrink over.
    """
    sites = tuple(sorted(set(site)))
    features, which, covariates = _table(features, site, covariates, sites)
    design = np.hstack([np.eye(len(sites))[which], covariates])
    counts = np.bincount(which)
    _check(features, sites, which, design, empirical_bayes=empirical_bayes)
    if reference is not None and reference not in sites:
        raise DataError(f"no subject of the reference site {reference!r}", cure=f"one of {', '.join(sites)}")
    coefficients = np.linalg.lstsq(design, features, rcond=None)[0]
    squares = (features - design @ coefficients) ** 2
    slopes = coefficients[len(sites) :]
    if reference is None:
        level, variance = counts / counts.sum() @ coefficients[: len(sites)], squares.mean(0)
    else:
        kept = sites.index(reference)
        level, variance = coefficients[kept], squares[which == kept].mean(0)
    spread = np.sqrt(variance)
    standard = (features - level - covariates @ slopes) / spread
    shift, scale = (np.empty((len(sites), features.shape[1])) for _ in range(2))
    for k, name in enumerate(sites):
        if name == reference:
            shift[k], scale[k] = 0, 1
            continue
        z = standard[which == k]
        shift[k], scale[k] = shrunk(z) if empirical_bayes else (z.mean(0), z.var(0, ddof=1))
    return ComBat(sites, level, spread, slopes, shift, scale)


def shrunk(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One site's (n, F) standardized features -> posterior shifts (F,) and scales (F,).

    Priors over the features, by moments: g ~ N(m, t^2), d ~ InverseGamma(a, b). The conditional posterior means

        g = (n t^2 mean(z) + d m) / (n t^2 + d),      d = (b + sum (z - g)^2 / 2) / (n / 2 + a - 1)

    are iterated to their fixed point (Johnson et al. 2007, section 3.2).
    """
    n, measured, variances = len(z), z.mean(0), z.var(0, ddof=1)
    m, t2 = measured.mean(), measured.var(ddof=1)
    v, w = variances.mean(), variances.var(ddof=1)
    if w == 0:  # all scales alike: the prior is a point
        return (n * t2 * measured + v * m) / (n * t2 + v), variances
    a, b = v**2 / w + 2, v**3 / w + v
    g, d = measured, variances
    for _ in range(ROUNDS):
        former = g, d
        g = (n * t2 * measured + d * m) / (n * t2 + d)
        d = (b + ((z - g) ** 2).sum(0) / 2) / (n / 2 + a - 1)
        if max(np.abs(g - former[0]).max(), np.abs(d - former[1]).max()) < CONVERGED:
            break
    return g, d


def _table(
    features: np.ndarray, site: Sequence[str], covariates: np.ndarray | None, sites: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, F) and covariates (N, K) in float64, and each subject's index into `sites`."""
    features = np.asarray(features, float)
    covariates = np.empty((len(features), 0)) if covariates is None else np.asarray(covariates, float)
    if features.ndim != 2 or covariates.ndim != 2 or not len(features) == len(site) == len(covariates):
        raise ValueError(f"(N, F), (N,), (N, K), got {features.shape}, ({len(site)},), {covariates.shape}")
    unknown = sorted(set(site) - set(sites))
    if unknown:
        raise DataError(
            f"unknown site {', '.join(unknown)}", cure=f"fit with subjects of it; fitted: {', '.join(sites)}"
        )
    if not (np.isfinite(features).all() and np.isfinite(covariates).all()):
        rows = np.flatnonzero(~(np.isfinite(features).all(1) & np.isfinite(covariates).all(1)))
        raise DataError(f"missing or infinite values in rows {rows.tolist()[:10]}", cure="leave these subjects out")
    return features, np.array([sites.index(name) for name in site], int), covariates


def _check(
    features: np.ndarray, sites: Sequence[str], which: np.ndarray, design: np.ndarray, *, empirical_bayes: bool
) -> None:
    few = [name for k, name in enumerate(sites) if (which == k).sum() < 2]
    if few:
        raise DataError(f"fewer than 2 subjects of site {', '.join(few)}", cure="more subjects, or leave the site out")
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise DataError("the sites explain a covariate", cure="leave the covariate out, or add subjects that overlap")
    for k, name in enumerate(sites):
        flat = np.flatnonzero(np.ptp(features[which == k], axis=0) == 0)
        if len(flat):
            raise DataError(f"features {flat.tolist()} are the same in all of site {name}", cure="leave them out")
    if empirical_bayes and features.shape[1] < 2:
        raise DataError("one feature has no others to borrow strength from", cure="set empirical_bayes=False")
