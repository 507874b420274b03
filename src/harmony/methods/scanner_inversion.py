"""Scanner inversion: find out what the scanner did to the whole volume, and undo it. One estimate per volume."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from torch import Tensor

from harmony.core import Harmonized, Stack
from harmony.core.reference import Reference, curved
from harmony.data.volumes.transforms import DARKEST, robust_maximum
from harmony.methods.base import Method
from harmony.networks import TissueNet
from harmony.scanner import Estimate, Prior, estimate
from harmony.scanner.report import INVERTED, MATCHED, NOTHING, OUTSIDE, ScannerReport

log = logging.getLogger(__name__)
FEWEST, THINNEST = 1000, 8  # voxels of brain, and slices, below which a stack is no volume to find a scanner in


class ScannerInversion(Method):
    """y = | blur(x sum_k p_k g_k exp(B c)) + n |, solved for x with what reference scans say of each part.

    1. Blur and noise from the texture; a Wiener filter undoes them on the raw scan.
    2. Tissue maps p_k by the network.
    3. Gains g_k and shading B c by robust least squares in log intensity.
    4. Shrinkage by what untouched reference scans show. A scan that looks as they do is returned as it is.
    5. A scan that looks as they do after histogram matching, or far more like them than before it, has one curve, and
       is returned matched.
    6. Else x = y sum_k p_k E_k / (exp(B c) sum_k p_k E_k g_k), E_k the reference's intensities, and a share of the way
       from there to its histogram matched image.

    percentile: of the brain, is 1. one_curve: "far more", squared distance after over before. matching: that share;
    a histogram shows the scanner's curve and the subject's own anatomy, and cannot tell them apart. most_noise, widest
    (voxels), unlikely (squared deviations per number), misfit (`scanner.Read`): beyond these the scan is returned as it
    is, and log and report say so.
    """

    def __init__(
        self,
        *,
        tissue: TissueNet,
        reference: Reference,
        percentile: float,
        one_curve: float,
        matching: float,
        most_noise: float,
        widest: float,
        unlikely: float,
        misfit: float,
    ) -> None:
        self.tissue, self.reference = tissue, reference
        self.percentile, self.one_curve, self.matching = percentile, one_curve, matching
        self.most_noise, self.widest, self.unlikely, self.misfit = most_noise, widest, unlikely, misfit

    @torch.no_grad()
    def harmonize(self, stack: Stack) -> Harmonized:
        """Wherever the scan is; all but the network's part is done on the CPU."""
        made, home = self._harmonized(stack.to(torch.device("cpu"))), stack.image.device
        return replace(made, image=made.image.to(home), gain=None if made.gain is None else made.gain.to(home))

    def _harmonized(self, stack: Stack) -> Harmonized:
        mask = stack.mask[:, 0]
        if mask.sum() < FEWEST or len(mask) < THINNEST or stack.image[stack.mask].std() < 1e-3:
            return self._one_curve(stack, ScannerReport(MATCHED))
        prior = self.tissue.prior
        top = max(robust_maximum(stack.image[:, 0], mask, self.percentile), DARKEST)
        found = self.estimate(stack.image[:, 0] / top, mask)
        scanner = prior.shrunk(found.fit.contrast)
        report = ScannerReport.of(found, scanner, prior, stack)
        if report.untouched <= 1:
            return Harmonized(stack.image, report=report.decided(NOTHING))
        matched = self.reference.match(stack)
        report = report.decided(INVERTED, prior.matched.distance(self.estimate(matched[:, 0], mask).evidence))
        if report.matched <= max(1, self.one_curve * report.untouched):
            return self._one_curve(stack, replace(report, decision=MATCHED))
        if self._outside(found, prior):
            log.warning("outside of what is known: %s", report)
            return Harmonized(stack.image, report=replace(report, decision=OUTSIDE))
        gain = found.gain(scanner.contrast, prior.expected, mask)
        restored = found.restored(gain, mask)[:, None]
        matched = self.reference.match(replace(stack, image=restored))
        final = torch.lerp(restored, matched, self.matching)
        return Harmonized(final, gain=(gain / top)[:, None], report=report)

    def _one_curve(self, stack: Stack, report: ScannerReport) -> Harmonized:
        curve = self.reference.curve(stack)
        return Harmonized(curved(stack, curve), curve=curve, report=report)

    def estimate(self, image: Tensor, mask: Tensor) -> Estimate:
        return estimate(image, mask, self.tissue, self.tissue.prior)

    def _outside(self, found: Estimate, prior: Prior) -> bool:
        seen = found.resolution
        strange = found.read.misfit > self.misfit or prior.likely(found.fit.contrast) > self.unlikely
        return strange or bool(seen.noise > self.most_noise or seen.width.max() > self.widest)
