"""How often 95 % intervals of few subjects cover the truth: python benchmarks/interval_coverage.py

Prints four tables: of a mean (of normal and of lognormal values), of a ratio of two means, of the mean of answers that
are each fitted to the other subjects, and of ICC(2,1). In each cell the share of samples whose interval holds the
truth, and behind the slash its median width, in standard deviations (of the ratio: in ratios). docs/statistics.md says
which was chosen, and why.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from harmony.analysis.agreement import icc

SIZES = (3, 6, 10, 20)
SAMPLES, DRAWS, CHUNK = 4000, 400, 200
REST = 0.1  # of the variance of a measurement, by neither the person nor the scanner
RATIO, LOST, NOISE = 0.4, 0.1, 0.02  # a share of 0.4 of a loss of 0.1 came back, up to a noise of 0.02


def main() -> None:
    rng = np.random.default_rng(0)
    print("| values | n | percentile | BCa | studentized | Student's t |\n|---|---|---|---|---|---|")
    for name, sigma in (("normal", None), ("lognormal 0.5", 0.5), ("lognormal 1", 1.0)):
        truth, spread = (0.0, 1.0) if sigma is None else lognormal(sigma)
        for n in SIZES:
            shape = (SAMPLES, n)
            x = rng.normal(size=shape) if sigma is None else rng.lognormal(0, sigma, shape)
            found = [each(x, rng) for each in (percentile, bca, studentized, student_t)]
            print("|", name, "|", n, "|", " | ".join(cell(ends, truth, spread) for ends in found), "|")
    print("\n| loss varies by | n | percentile | delta | jackknife | Fieller | Fieller bounded |")
    print("|---|---|---|---|---|---|---|")
    for variation in (0.2, 0.5):
        for n in SIZES:
            lost = rng.normal(LOST, variation * LOST, (SAMPLES, n))
            gained = RATIO * lost + rng.normal(0, NOISE, (SAMPLES, n))
            found = [each(gained, lost, rng) for each in (ratio_percentile, delta, jackknife, fieller)]
            bounded = f"{np.isfinite(found[-1]).all(0).mean():.1%}"
            print("|", f"{variation:.0%}", "|", n, "|", " | ".join(cell(e, RATIO, 1) for e in found), "|", bounded, "|")

    print("\n| answers fitted to the others | n | Student's t | corrected |\n|---|---|---|---|")
    for n in SIZES:
        e = rng.normal(size=(SAMPLES, n, 8))
        x = (e * (e.sum(1, keepdims=True) - e)).sum(2)  # of e_i by the sum of the others: 0 on average
        low, high = ends = student_t(x, rng)
        middle, wider = (low + high) / 2, (high - low) / 2 * np.sqrt(1 + n / (n - 1))
        found = cell(ends, 0, 1), cell(np.array([middle - wider, middle + wider]), 0, 1)
        print("| no effect |", n, "|", " | ".join(each.split(" /")[0] for each in found), "|")

    print("\n| of the variance, scanners have | scanners | " + " | ".join(f"n = {n}" for n in SIZES) + " |")
    print("|---" * (2 + len(SIZES)) + "|")
    for share in (0.0, 0.1, 0.3):
        for k in (2, 3, 10):
            found = [cell(agreeing(n, k, share, rng), 1 - share - REST, 1) for n in SIZES]
            print("|", f"{share:.0%}", "|", k, "|", " | ".join(found), "|")


def lognormal(sigma: float) -> tuple[float, float]:
    """Mean and standard deviation of exp(N(0, sigma^2))."""
    mean = np.exp(sigma**2 / 2)
    return mean, mean * np.sqrt(np.exp(sigma**2) - 1)


def cell(ends: np.ndarray, truth: float, unit: float) -> str:
    low, high = ends
    return f"{((low <= truth) & (truth <= high)).mean():.1%} / {np.median(high - low) / unit:.2f}"


def student_t(x: np.ndarray, _: np.random.Generator) -> np.ndarray:
    n = x.shape[1]
    half = student.ppf(0.975, n - 1) * x.std(1, ddof=1) / np.sqrt(n)
    return np.array([x.mean(1) - half, x.mean(1) + half])


def percentile(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.hstack([np.quantile(draws(part, rng).mean(2), [0.025, 0.975], axis=1) for part in parts(x)])


def studentized(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Quantiles of (mean* - mean) / (s* / sqrt(n)); a resample of one value alone, without s*, says +-infinity."""
    found = []
    for part in parts(x):
        picked, n = draws(part, rng), x.shape[1]
        mean, error = part.mean(1), part.std(1, ddof=1) / np.sqrt(n)
        with np.errstate(divide="ignore"):
            t = (picked.mean(2) - mean[:, None]) / (picked.std(2, ddof=1) / np.sqrt(n))
        low, high = np.quantile(t, [0.025, 0.975], axis=1, method="nearest")
        found.append([mean - high * error, mean - low * error])
    return np.hstack(found)


def bca(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bias-corrected and accelerated (Efron 1987)."""
    found = []
    for part in parts(x):
        means, n = draws(part, rng).mean(2), x.shape[1]
        z0 = norm.ppf((means < part.mean(1)[:, None]).mean(1).clip(1 / DRAWS, 1 - 1 / DRAWS))
        left_out = (part.sum(1)[:, None] - part) / (n - 1)
        away = left_out.mean(1)[:, None] - left_out
        a = (away**3).sum(1) / (6 * (away**2).sum(1) ** 1.5)
        ends = [norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))) for z in norm.ppf([0.025, 0.975])]
        ordered, rows = np.sort(means, axis=1), np.arange(len(part))
        found.append([ordered[rows, (end * (DRAWS - 1)).round().astype(int)] for end in ends])
    return np.hstack(found)


def ratio_percentile(gained: np.ndarray, lost: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    found = []
    for g, ell in zip(parts(gained), parts(lost), strict=True):
        picks = rng.integers(0, g.shape[1], (len(g), DRAWS, g.shape[1]))
        rows = np.arange(len(g))[:, None, None]
        found.append(np.quantile(g[rows, picks].mean(2) / ell[rows, picks].mean(2), [0.025, 0.975], axis=1))
    return np.hstack(found)


def delta(gained: np.ndarray, lost: np.ndarray, _: np.random.Generator) -> np.ndarray:
    n, share = gained.shape[1], gained.mean(1) / lost.mean(1)
    rest = gained - share[:, None] * lost
    half = student.ppf(0.975, n - 1) * rest.std(1, ddof=1) / np.sqrt(n) / np.abs(lost.mean(1))
    return np.array([share - half, share + half])


def jackknife(gained: np.ndarray, lost: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Student's t of the pseudo-values (Tukey 1958)."""
    n, share = gained.shape[1], gained.mean(1) / lost.mean(1)
    without = (gained.sum(1)[:, None] - gained) / (lost.sum(1)[:, None] - lost)
    return student_t(n * share[:, None] - (n - 1) * without, rng)


def fieller(gained: np.ndarray, lost: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """`harmony.metrics.summary.ratio`, of many samples; all numbers where it is not bounded."""
    n, g, ell = gained.shape[1], gained.mean(1), lost.mean(1)
    q = student.ppf(0.975, n - 1) ** 2 / n
    covariance = ((gained - g[:, None]) * (lost - ell[:, None])).sum(1) / (n - 1)
    a, b = ell**2 - q * lost.var(1, ddof=1), g * ell - q * covariance
    half = np.sqrt((b**2 - a * (g**2 - q * gained.var(1, ddof=1))).clip(0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(a > 0, [(b - half) / a, (b + half) / a], [[-np.inf], [np.inf]])


def agreeing(n: int, k: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """(2, SAMPLES) of ICC(2,1): n people on k scanners, which have `share` of the variance; REST is left, by chance."""
    people, scanners, rest = (np.sqrt(each) for each in (1 - share - REST, share, REST))
    tables = (
        people * rng.normal(size=(SAMPLES, n, 1))
        + scanners * rng.normal(size=(SAMPLES, 1, k))
        + rest * rng.normal(size=(SAMPLES, n, k))
    )
    return np.array([icc(table)[1:3] for table in tables]).T


def parts(x: np.ndarray) -> list[np.ndarray]:
    return [x[k : k + CHUNK] for k in range(0, len(x), CHUNK)]


def draws(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(samples, n) -> (samples, DRAWS, n), with replacement within a sample."""
    return x[np.arange(len(x))[:, None, None], rng.integers(0, x.shape[1], (len(x), DRAWS, x.shape[1]))]


if __name__ == "__main__":
    main()
