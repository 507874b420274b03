"""Scanner inversion: find out what the scanner did to the whole volume, and undo it. One estimate per volume."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from torch import Tensor

from harmony.core import Harmonized, Stack
from harmony.core.reference import Reference
from harmony.core.scanner import Estimate, Prior, estimate
from harmony.methods.base import Method
from harmony.methods.scanner_report import INVERTED, MATCHED, NOTHING, OUTSIDE, ScannerReport
from harmony.networks import TissueNet

log = logging.getLogger(__name__)
PERCENTILE = 99.5  # of the brain: becomes 1, whatever the scan's own scale is
FEWEST, THINNEST = 1000, 8  # voxels of brain, and slices, below which a stack is no volume to find a scanner in


class ScannerInversion(Method):
    """y = | blur(x sum_k p_k g_k exp(B c)) + n |, solved for x with what reference scans say of each part.

    1. Blur and noise from the texture; a Wiener filter undoes them on the raw scan.
    2. Tissue maps p_k by the network, first not knowing the scanner, then `rounds` times with what 3. found.
    3. Gains g_k and shading B c by robust least squares in log intensity.
    4. Shrinkage by what untouched reference scans show. A scan that looks as they do is returned as it is.
    5. A scan that looks as they do after histogram matching has one curve, and is returned matched.
    6. Else x = y sum_k p_k / (g_k exp(B c)).

    most_noise, widest (voxels), unlikely (squared deviations per number): beyond what the network was trained on the
    scan is returned as it is, and log and report say so.
    """

    def __init__(
        self,
        *,
        tissue: TissueNet,
        reference: Reference,
        rounds: int,
        most_noise: float,
        widest: float,
        unlikely: float,
    ) -> None:
        self.tissue, self.reference = tissue, reference
        self.rounds, self.most_noise, self.widest, self.unlikely = rounds, most_noise, widest, unlikely

    def harmonize(self, stack: Stack) -> Harmonized:
        mask = stack.mask[:, 0]
        if mask.sum() < FEWEST or len(mask) < THINNEST or stack.image[stack.mask].std() < 1e-3:
            return Harmonized(self.reference.match(stack), report={"decision": MATCHED})
        with torch.no_grad():
            return self._harmonized(stack, mask)

    def _harmonized(self, stack: Stack, mask: Tensor) -> Harmonized:
        prior = self.tissue.prior
        top = robust_maximum(stack.image[stack.mask])
        found = self.estimate(stack.image[:, 0] / top, mask)
        report = ScannerReport.of(found, prior, stack)
        if report.untouched <= 1:
            return Harmonized(stack.image, report=report.decided(NOTHING).plain())
        matched = self.reference.match(stack)
        report = report.decided(INVERTED, prior.matched.distance(self.estimate(matched[:, 0], mask).evidence))
        if report.matched <= 1:
            return Harmonized(matched, report=replace(report, decision=MATCHED).plain())
        if self._outside(found, prior):
            log.warning("outside of what is known: %s", report)
            return Harmonized(stack.image, report=replace(report, decision=OUTSIDE).plain())
        gain = found.gain(prior.shrunk(found.fit.contrast)[0], mask)
        restored = torch.where(mask, gain * found.clear, 0).clamp(0, 1)
        return Harmonized(restored[:, None], gain=(gain / top)[:, None], report=report.plain())

    def estimate(self, image: Tensor, mask: Tensor) -> Estimate:
        return estimate(image, mask, self.tissue, self.tissue.prior, rounds=self.rounds)

    def _outside(self, found: Estimate, prior: Prior) -> bool:
        seen = found.resolution
        strange = prior.likely(found.fit.contrast) > self.unlikely
        return strange or bool(seen.noise > self.most_noise or seen.width.max() > self.widest)


def robust_maximum(values: Tensor) -> Tensor:
    """The nearest value below the percentile."""
    return values.kthvalue(max(1, int(PERCENTILE / 100 * len(values)))).values.clamp(min=1e-6)
