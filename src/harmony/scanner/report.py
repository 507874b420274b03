"""What scanner inversion says of a scan: a result of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isnan, nan
from typing import ClassVar

from torch import Tensor

from harmony.core import NamedReport, Stack
from harmony.core.measures import FWHM_PER_SIGMA
from harmony.scanner.contrast import Contrast, brain_box
from harmony.scanner.even import EvenScan
from harmony.scanner.inversion import Estimate
from harmony.scanner.prior import Prior, Shrunk
from harmony.scanner.resolution import Resolution

NOTHING, MATCHED, INVERTED = "nothing needed", "one curve: histogram matching", "inverted"
BENT = "one curve and more: histogram matching, then inverted"
OUTSIDE, SOFTENED = "outside of what is known", "blurred as the reference scanner is"
LEFT_ALONE = {NOTHING: "nothing was needed", OUTSIDE: "it is outside of what the model knows"}
EVEN, REFERENCE = SHADINGS = ("even", "reference")  # what a result's shading may be
AXES = ("slices", "rows", "columns")


@dataclass(frozen=True, kw_only=True)
class ScannerReport(NamedReport):
    """The scanner of one volume, relative to the reference scanner. nan, or nothing, is what nobody looked at: of a
    stack that is no volume, everything but the decision.

    decision: one of the six above. target: whose shading the result has, one of `SHADINGS`. gains: tissue ->
    factor; doubts: tissue -> its standard deviation. shading: the largest factor less 1 within the brain.
    gains_likely, shading_likely: the probability that the scanner has any. blur: axis -> FWHM in mm (in voxels
    where the stack's spacing is not known), and softened alike: what a scan that was sharper than the reference was
    blurred by. noise: Rician sigma over the robust maximum. shrunk: the share of the fitted gains and shading that
    was taken for the subject's own. untouched, matched: squared distance of the scan, as it is and matched, from
    untouched reference scans: 1 is what nearly all of them stay below. Gains, shading, blur and noise of a scan that
    was matched, then inverted, are those of the matched.
    """

    name: ClassVar[str] = "Scanner"
    decision: str
    target: str = REFERENCE
    gains: Mapping[str, float] = field(default_factory=dict)
    doubts: Mapping[str, float] = field(default_factory=dict)
    gains_likely: float = nan
    shading: float = nan
    shading_likely: float = nan
    blur: Mapping[str, float] = field(default_factory=dict)
    softened: Mapping[str, float] = field(default_factory=dict)
    noise: float = nan
    shrunk: float = nan
    untouched: float = nan
    matched: float = nan

    @classmethod
    def of(cls, scan: Estimate, scanner: Shrunk, prior: Prior, stack: Stack) -> ScannerReport:
        """Of an estimate, before anything is decided. scanner: `prior.shrunk` of its fit."""
        gains = scanner.contrast.log_gains.exp()
        doubts = scanner.deviation[: len(gains)] * gains
        whole = (scan.fit.contrast.theta - prior.own).norm().clamp(min=1e-9)
        return cls(
            decision=INVERTED,
            gains=dict(zip(prior.tissues, map(_rounded, gains.tolist()), strict=True)),
            doubts=dict(zip(prior.tissues, map(_rounded, doubts.tolist()), strict=True)),
            gains_likely=_rounded(scanner.gains_probability),
            shading=_rounded(largest_shading(scanner.contrast, stack)),
            shading_likely=_rounded(scanner.shading_probability),
            blur=fwhm(scan.resolution.width, stack),
            noise=_rounded(float(scan.resolution.noise)),
            shrunk=_rounded(1 - float(scanner.contrast.theta.norm() / whole)),
            untouched=_rounded(prior.raw.distance(scan.evidence)),
        )

    @classmethod
    def of_even(cls, scan: EvenScan, resolution: Resolution, prior: Prior, stack: Stack) -> ScannerReport:
        """Of a scan that is to be made even. Its shading counts from its mean."""
        kept, deviation = prior.even_gains(scan.log_gains)
        mask = stack.mask[:, 0]
        log = (scan.field + prior.expected.log_over(brain_box(mask))[-1])[mask]
        return cls(
            decision=INVERTED,
            target=EVEN,
            gains=dict(zip(prior.tissues, map(_rounded, kept.exp().tolist()), strict=True)),
            doubts=dict(zip(prior.tissues, map(_rounded, (deviation * kept.exp()).tolist()), strict=True)),
            shading=_rounded(float((log - log.mean()).abs().max().expm1())),
            blur=fwhm(resolution.width, stack),
            noise=_rounded(float(resolution.noise)),
        )

    def decided(self, decision: str, matched: float = nan) -> ScannerReport:
        return replace(self, decision=decision, matched=_rounded(matched))

    def __str__(self) -> str:
        return "; ".join(" ".join(entry) for entry in self.words()[1:])

    def words(self) -> list[tuple[str, str]]:
        decision = [("decision", self.decision)]
        if not self.gains:  # too little of a brain to find a scanner in
            return decision
        decision = [*decision, ("shading of the result", self.target)]
        gains = (f"{tissue} {gain:.2f} ± {self.doubts[tissue]:.2f}" for tissue, gain in self.gains.items())
        looked = {"as it is": self.untouched, "after histogram matching": self.matched}
        distances = [f"{distance:.2f} {words}" for words, distance in looked.items() if not isnan(distance)]
        estimated = [
            *decision,
            ("gains", ", ".join(gains) + _likely(self.gains_likely, "are")),
            ("shading", f"up to {self.shading:.0%}" + _likely(self.shading_likely, "is")),
            ("blur", _axes(self.blur)),
            *([("blurred by", _axes(self.softened))] if self.softened else []),
            ("noise", f"{self.noise:.1%} of the robust maximum"),
        ]
        if isnan(self.untouched):
            return estimated
        return [
            *estimated,
            ("shrunk", f"by {self.shrunk:.0%}: as much of the fit was taken for the subject's own"),
            ("distance from untouched scans", f"{', '.join(distances)} (1: the farthest of them)"),
        ]

    @property
    def left_alone(self) -> str | None:
        return LEFT_ALONE.get(self.decision)

    def plain(self) -> dict[str, float | str]:
        """For a sidecar or a table, flat; without what nobody looked at."""
        entries: dict[str, float | str] = {
            "decision": self.decision,
            **({"target": self.target} if self.gains else {}),
            **{f"gain_{tissue}": gain for tissue, gain in self.gains.items()},
            **{f"doubt_{tissue}": doubt for tissue, doubt in self.doubts.items()},
            "gains_likely": self.gains_likely,
            "shading": self.shading,
            "shading_likely": self.shading_likely,
            **{f"blur_{axis}": width for axis, width in self.blur.items()},
            **{f"softened_{axis}": width for axis, width in self.softened.items()},
            "noise": self.noise,
            "shrunk": self.shrunk,
            "untouched": self.untouched,
            "matched": self.matched,
        }
        return {name: value for name, value in entries.items() if isinstance(value, str) or not isnan(value)}


def largest_shading(contrast: Contrast, stack: Stack) -> float:
    mask = stack.mask[:, 0]
    shading = contrast.log_over(brain_box(mask))[0] - contrast.log_gains[0]
    return float(shading[mask].abs().max().expm1())


def _likely(probability: float, verb: str) -> str:
    return "" if isnan(probability) else f" ({probability:.0%} that there {verb} any)"


def _rounded(number: float) -> float:
    return round(number, 4)


def fwhm(width: Tensor, stack: Stack) -> dict[str, float]:
    """Gaussian sigmas in voxels, (3,) -> FWHM along slices, rows, columns: mm; voxels where their sides are unknown."""
    sides = stack.spacing or (1.0,) * len(AXES)
    widths = [sigma * FWHM_PER_SIGMA * side for sigma, side in zip(width.tolist(), sides, strict=True)]
    return dict(zip(AXES, map(_rounded, widths), strict=True))


def _axes(widths: Mapping[str, float]) -> str:
    return f"{' × '.join(f'{widths[axis]:.1f}' for axis in AXES)} mm FWHM along slices, rows, columns"
