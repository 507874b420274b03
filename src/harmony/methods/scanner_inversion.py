"""Scanner inversion: find out what the scanner did to the whole volume, and undo it. One estimate per volume."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from harmony.core import Harmonized, Stack
from harmony.core.reference import Reference
from harmony.methods.base import Method
from harmony.networks import TissueNet
from harmony.scanner import Contrast, Estimate, Prior, brain_box, estimate

log = logging.getLogger(__name__)
FWHM_PER_SIGMA = 2.3548
PERCENTILE = 99.5  # of the brain: becomes 1, whatever the scan's own scale is
FEWEST = 1000  # voxels of brain, below which there is nothing to fit 22 numbers to
TISSUES = ("csf", "grey", "white")
NOTHING, MATCHED, INVERTED, OUTSIDE = (
    "nothing needed",
    "one curve: histogram matching",
    "inverted",
    "outside of what is known",
)


class ScannerInversion(Method):
    """y = | blur(x sum_k p_k g_k exp(B c)) + n |, solved for x with what reference scans say of each part.

    1. Blur and noise from the texture; a Wiener filter undoes them on the raw scan.
    2. Tissue maps p_k by the network, first not knowing the scanner, then `rounds` times with what 3. found.
    3. Gains g_k and shading B c by robust least squares in log intensity.
    4. Shrinkage by what untouched reference scans show. A scan that looks as they do is returned as it is.
    5. A scan that looks as they do after histogram matching has one curve, and is returned matched.
    6. Else x = y sum_k p_k / (g_k exp(B c)), plus `correction` times what the network finds still missing.

    most_noise, widest (voxels), unlikely (squared deviations per number): beyond what the network was trained on the
    scan is returned as it is, and the report says so. deblurs, levels, shrinks: without them step 1, the gains and
    shading of 3. and 6., and step 4. are left out, as an ablation does.
    """

    def __init__(
        self,
        *,
        tissue: TissueNet,
        reference: Reference,
        rounds: int,
        correction: float,
        most_noise: float,
        widest: float,
        unlikely: float,
    ) -> None:
        self.tissue, self.reference = tissue, reference
        self.rounds, self.correction = rounds, correction
        self.most_noise, self.widest, self.unlikely = most_noise, widest, unlikely

    def harmonize(self, stack: Stack) -> Harmonized:
        mask = stack.mask[:, 0]
        if mask.sum() < FEWEST or stack.image[stack.mask].std() < 1e-3:
            return Harmonized(self.reference.match(stack), report={"decision": MATCHED})
        with torch.no_grad():
            return self._harmonized(stack, mask)

    def _harmonized(self, stack: Stack, mask: Tensor) -> Harmonized:
        prior = self.tissue.prior
        top = robust_maximum(stack.image[stack.mask])
        image = stack.image[:, 0] / top
        found = estimate(image, mask, self.tissue, prior, rounds=self.rounds)
        contrast, doubt = prior.shrunk(found.fit.contrast)
        report = described(found, contrast, doubt, prior, stack)
        report["untouched"] = prior.raw.distance(found.evidence)
        if report["untouched"] <= 1:
            return Harmonized(stack.image, report=report | {"decision": NOTHING})
        matched = self.reference.match(stack)
        after = estimate(matched[:, 0], mask, self.tissue, prior, rounds=self.rounds)
        report["matched"] = prior.matched.distance(after.evidence)
        if report["matched"] <= 1:
            return Harmonized(matched, report=report | {"decision": MATCHED})
        if self._outside(found, prior):
            log.warning("outside of what is known: %s", ", ".join(f"{k} {v}" for k, v in report.items()))
            return Harmonized(stack.image, report=report | {"decision": OUTSIDE})
        gain = found.gain(contrast, mask)
        restored = gain * found.clear + self.correction * found.correction
        restored = torch.where(mask, restored, 0).clamp(0, 1)[:, None]
        return Harmonized(restored, gain=(gain / top)[:, None], report=report | {"decision": INVERTED})

    def _outside(self, found: Estimate, prior: Prior) -> bool:
        seen = found.resolution
        strange = prior.likely(found.fit.contrast) > self.unlikely
        return strange or bool(seen.noise > self.most_noise or seen.width.max() > self.widest)


def robust_maximum(values: Tensor) -> Tensor:
    """The nearest value below the percentile."""
    return values.kthvalue(max(1, int(PERCENTILE / 100 * len(values)))).values.clamp(min=1e-6)


def described(found: Estimate, contrast: Contrast, doubt: Tensor, prior: Prior, stack: Stack) -> dict[str, float | str]:
    """The estimate in words that a reader of the scan's sidecar wants.

    gain_K: factor of tissue K, and gain_K_doubt its deviation. shading: the largest factor less 1 within the brain.
    blur_mm: FWHM along slices, rows, columns (in voxels where the spacing is not known). noise: Rician sigma over the
    robust maximum. shrunk: share of the fit that was taken for the subject's own.
    """
    shading = contrast.log_over(brain_box(stack.mask[:, 0]))[0] - contrast.log_gains[0]
    report: dict[str, float | str] = {}
    for name, gain, off in zip(TISSUES, contrast.log_gains.exp(), doubt, strict=False):
        report |= {f"gain_{name}": round(float(gain), 3), f"gain_{name}_doubt": round(float(off * gain), 3)}
    report["shading"] = round(float(shading[stack.mask[:, 0]].abs().max().exp() - 1), 3)
    unit, spacing = ("mm", stack.spacing) if stack.spacing else ("voxels", (1.0, 1.0, 1.0))
    for name, width, side in zip(("slices", "rows", "columns"), found.resolution.width, spacing, strict=True):
        report[f"blur_{name}_{unit}"] = round(float(width) * FWHM_PER_SIGMA * side, 2)
    report["noise"] = round(float(found.resolution.noise), 4)
    whole = (found.fit.contrast.theta - prior.own).norm().clamp(min=1e-9)
    report["shrunk"] = round(float(1 - contrast.theta.norm() / whole), 3)
    return report
