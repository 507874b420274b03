"""What scanner inversion found out about a scan: a result of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import isnan, nan
from typing import Any, ClassVar

from harmony.core import NamedReport, Stack
from harmony.data.volumes.transforms import FWHM_PER_SIGMA
from harmony.scanner import Contrast, Estimate, Prior, Shrunk, brain_box

NOTHING, MATCHED, INVERTED = "nothing needed", "one curve: histogram matching", "inverted"
OUTSIDE = "outside of what is known"
TISSUES = ("csf", "grey", "white")
DISTANCES = {"untouched": "as it is", "matched": "after histogram matching"}


@dataclass(frozen=True)
class ScannerReport(NamedReport):
    """The scanner of one volume, relative to the reference scanner.

    decision: one of the four above. gain_csf .. gain_white: factor of each tissue; doubt_..: its standard deviation.
    shading: the largest factor less 1 within the brain. gains_likely, shading_likely: how likely it is that the scanner
    has any, 0 to 1. blur_..: FWHM along slices, rows, columns, in mm (in voxels without the stack's spacing).
    noise: Rician sigma over the robust maximum. shrunk: the share of the fitted gains and shading that was taken for
    the subject's own. untouched, matched: squared distance of the scan, as it is and matched, from untouched reference
    scans: 1 is what nearly all of them stay below. nan where nobody looked: all of a scan with too little brain.
    """

    name: ClassVar[str] = "Scanner"
    decision: str
    gain_csf: float = nan
    gain_grey: float = nan
    gain_white: float = nan
    doubt_csf: float = nan
    doubt_grey: float = nan
    doubt_white: float = nan
    gains_likely: float = nan
    shading: float = nan
    shading_likely: float = nan
    blur_slices: float = nan
    blur_rows: float = nan
    blur_columns: float = nan
    noise: float = nan
    shrunk: float = nan
    untouched: float = nan
    matched: float = nan

    @classmethod
    def of(cls, found: Estimate, scanner: Shrunk, prior: Prior, stack: Stack) -> ScannerReport:
        """Of an estimate, before anything is decided. scanner: `prior.shrunk` of its fit."""
        gains = scanner.contrast.log_gains.exp()
        whole = (found.fit.contrast.theta - prior.own).norm().clamp(min=1e-9)
        numbers = [
            *gains.tolist(),
            *(scanner.deviation[: len(gains)] * gains).tolist(),
            scanner.gains,
            largest_shading(scanner.contrast, stack),
            scanner.shading,
            *(
                width * FWHM_PER_SIGMA * side
                for width, side in zip(found.resolution.width.tolist(), stack.spacing or (1.0,) * 3, strict=True)
            ),
            float(found.resolution.noise),
            1 - float(scanner.contrast.theta.norm() / whole),
            prior.raw.distance(found.evidence),
        ]
        return cls(INVERTED, *(round(number, 4) for number in numbers))

    def decided(self, decision: str, matched: float = nan) -> ScannerReport:
        return replace(self, decision=decision, matched=round(matched, 4))

    def __str__(self) -> str:
        return "; ".join(" ".join(each) for each in in_words(self.plain())[1:])

    def words(self) -> list[tuple[str, str]]:
        return in_words(self.plain())

    @property
    def left_alone(self) -> str | None:
        return left_alone(self.plain())

    def plain(self) -> dict[str, float | str]:
        """For a sidecar or a table; without what nobody looked at."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, str) or not isnan(value)}


def left_alone(report: Mapping[str, Any]) -> str | None:
    """Why the scan was returned as it is; None where it was not, or where a method reports no scanner."""
    reasons = {NOTHING: "nothing was needed", OUTSIDE: "it is outside of what the model knows"}
    return reasons.get(report.get("decision", ""))


def in_words(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A report as it stands in a sidecar, for people: name and value."""
    if not report:
        return []
    said = [("decision", report["decision"])]
    if "noise" not in report:  # too little of a brain to find a scanner in
        return said
    gains = (f"{name} {report[f'gain_{name}']:.2f} ± {report[f'doubt_{name}']:.2f}" for name in TISSUES)
    blur = " × ".join(f"{report[f'blur_{axis}']:.1f}" for axis in ("slices", "rows", "columns"))
    distances = [f"{report[name]:.2f} {words}" for name, words in DISTANCES.items() if name in report]
    return [
        *said,
        ("gains", f"{', '.join(gains)} ({report['gains_likely']:.0%} that there are any)"),
        ("shading", f"up to {report['shading']:.0%} ({report['shading_likely']:.0%} that there is any)"),
        ("blur", f"{blur} mm FWHM along slices, rows, columns"),
        ("noise", f"{report['noise']:.1%} of the robust maximum"),
        ("shrunk", f"by {report['shrunk']:.0%}: as much of the fit was taken for the subject's own"),
        ("distance from untouched scans", f"{', '.join(distances)} (1: the farthest of them)"),
    ]


def largest_shading(contrast: Contrast, stack: Stack) -> float:
    mask = stack.mask[:, 0]
    shading = contrast.log_over(brain_box(mask))[0] - contrast.log_gains[0]
    return float(shading[mask].abs().max().expm1())
