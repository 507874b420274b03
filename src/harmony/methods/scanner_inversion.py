"""Scanner inversion: estimate what the scanner did to the whole volume, and undo it. One estimate per volume."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from harmony.core import Harmonized, Stack
from harmony.core.measures import DARKEST, robust_maximum
from harmony.core.reference import Reference, curved
from harmony.methods.base import Method
from harmony.scanner import (
    BENT,
    BRIGHTEST,
    EVEN,
    INVERTED,
    MATCHED,
    NOTHING,
    OUTSIDE,
    SHADINGS,
    SOFTENED,
    UNBLURRED,
    Estimate,
    MapNetwork,
    Prior,
    Resolution,
    ScannerReport,
    TextureFit,
    Widths,
    deblur,
    estimate,
    even_scan,
    fwhm,
    gaussian_inside,
    texture,
)

log = logging.getLogger(__name__)
ROUNDS = 4  # of blurring a scan as the reference is: the reading of a far sharper one falls short
FEWEST, THINNEST = 1000, 8  # voxels of brain, and slices, below which a stack is no volume to find a scanner in


class ScannerInversion(Method):
    """y = | blur(x sum_k p_k g_k s(r)) + n |, solved for x with what reference scans say of each part.

    Blur and noise are read from the texture, and a Wiener filter undoes them on the raw scan; a scan that is sharper
    than any untouched one is blurred first, as the reference scanner would have. Then, by `shading`:

    *even*: the result is what the reference scanner would have made without its shading, and an even scan stays even.
    The shading s is any smooth field, and comes off in rounds with the tissue maps p_k (`even_scan`); of the gains g_k
    the scanner's part is undone (`Prior.even_gains`).

    *reference*: the result has the reference scanner's own shading, as a truth that is simulated from it.

    1. Tissue maps by the network, gains and shading, a cubic, by robust least squares in log intensity.
    2. Shrinkage by what untouched reference scans show. A scan that looks as they do is returned as it is.
    3. A scan that looks as they do after histogram matching has one curve, and is returned matched.
    4. Else x = y sum_k p_k E_k / (s sum_k p_k E_k g_k), E_k the reference's intensities, and a share of the way from
       there to its histogram matched image. Where matching brings the scan nearer to them, y is the matched scan (one
       curve and more) if its x then looks clearly more as they do.

    map_network: of tissue maps, in eval mode. prior, reference: of the reference scanner, whatever scans the network
    was trained on. percentile: of the brain, is 1. any_probability: before the scan is seen, that its scanner has
    gains, and as much that it has a shading. nearer: "clearly", a squared distance over the other. matching: that
    share; a histogram shows the scanner's curve and the subject's own anatomy, and cannot tell them apart. most_noise,
    widest (voxels), unlikely (`Prior.unlikeliness`), misfit (`TextureFit`): beyond these the scan is returned as it is,
    and log and report say so.
    """

    def __init__(
        self,
        *,
        map_network: MapNetwork,
        prior: Prior,
        reference: Reference,
        shading: Literal["even", "reference"],
        percentile: float,
        any_probability: float,
        nearer: float,
        matching: float,
        most_noise: float,
        widest: float,
        unlikely: float,
        misfit: float,
    ) -> None:
        if shading not in SHADINGS:
            raise ValueError(f"shading={shading}: unknown -> one of {', '.join(SHADINGS)}")
        self.map_network, self.prior, self.reference, self.shading = map_network, prior, reference, shading
        self.percentile, self.any_probability = percentile, any_probability
        self.nearer, self.matching = nearer, matching
        self.most_noise, self.widest, self.unlikely, self.misfit = most_noise, widest, unlikely, misfit

    @torch.no_grad()
    def harmonize(self, stack: Stack) -> Harmonized:
        """Wherever the scan is; all but the network's part is done on the CPU."""
        result, home = self._harmonized(stack.to(torch.device("cpu"))), stack.image.device
        return replace(result, image=result.image.to(home), gain=None if result.gain is None else result.gain.to(home))

    def _harmonized(self, stack: Stack) -> Harmonized:
        mask = stack.mask[:, 0]
        if mask.sum() < FEWEST or len(mask) < THINNEST or stack.image[stack.mask].std() < 1e-3:
            curve = self.reference.curve(stack)
            return Harmonized(curved(stack, curve), curve=curve, report=ScannerReport(decision=MATCHED))
        soft, read, width = stack, self._texture(stack), torch.zeros(3)
        for _ in range(ROUNDS):
            more = self.prior.texture.softening(read)
            if not more.any():
                break
            width = (width.square() + more.square()).sqrt()
            soft = replace(stack, image=gaussian_inside(stack.image[:, 0], mask, width)[:, None])
            read = self._texture(soft)._replace(misfit=read.misfit)  # of the scan: what follows is a Gaussian
        result = self._inverted(soft, read)
        return self._softened(result, width, stack) if width.any() else result

    def _texture(self, stack: Stack) -> TextureFit:
        return self.prior.texture.fit(texture(stack.image[:, 0] / self._top(stack), stack.mask[:, 0]))

    def _top(self, stack: Stack) -> float:
        return max(robust_maximum(stack.image[:, 0], stack.mask[:, 0], self.percentile), DARKEST)

    def _softened(self, result: Harmonized, width: Tensor, stack: Stack) -> Harmonized:
        """The result of a scan that was blurred first: no curve of the scan itself; or the scan, if that is unlike all
        that is known."""
        report = result.report
        assert isinstance(report, ScannerReport)
        if report.decision == OUTSIDE:
            return replace(result, image=stack.image)
        decision = SOFTENED if report.decision == NOTHING else report.decision
        report = replace(report, decision=decision, softened=fwhm(width, stack))
        return replace(result, curve=None, report=report)

    def _inverted(self, stack: Stack, read: TextureFit) -> Harmonized:
        top = self._top(stack)
        return self._even(stack, top, read) if self.shading == EVEN else self._as_reference(stack, top, read)

    def _even(self, stack: Stack, top: float, read: TextureFit) -> Harmonized:
        image, mask, prior = stack.image[:, 0] / top, stack.mask[:, 0], self.prior
        read = read.without(stack.resampled)
        resolution = prior.texture.resolution(read, prior.spectrum)
        clear = deblur(image, mask, resolution, prior.spectrum).clamp(0, BRIGHTEST)
        scan = even_scan(clear, image, mask, self.map_network, prior.expected, stack.side)
        report = ScannerReport.of_even(scan, resolution, prior, stack)
        if self._beyond(read, resolution) or prior.even_unlikeliness(scan.log_gains) > self.unlikely:
            log.warning("outside of what is known: %s", report)
            return Harmonized(stack.image, report=replace(report, decision=OUTSIDE))
        gain = scan.gain(prior.even_gains(scan.log_gains)[0], prior.expected, mask)
        final = torch.where(mask, gain * clear, 0).clamp(0, 1)
        return Harmonized(final[:, None], gain=(gain / top)[:, None], report=report)

    def _as_reference(self, stack: Stack, top: float, read: TextureFit) -> Harmonized:
        scan = self.estimate(stack.image[:, 0] / top, stack.mask[:, 0], stack.resampled, read)
        report = self._report(scan, stack)
        if report.untouched <= 1:
            return Harmonized(stack.image, report=report.decided(NOTHING))
        curve = self.reference.curve(stack)
        bent = replace(stack, image=curved(stack, curve))
        matched = self.estimate(bent.image[:, 0], stack.mask[:, 0], stack.resampled)
        report = report.decided(INVERTED, self.prior.matched.distance(matched.evidence))
        if report.matched <= 1:
            return Harmonized(bent.image, curve=curve, report=replace(report, decision=MATCHED))
        results = []
        if not self._outside(scan):
            results.append(self._undone(stack, scan, top, report))
        if report.matched < report.untouched and not self._outside(matched):
            left = self._report(matched, stack)
            left = replace(left, decision=BENT, untouched=report.untouched, matched=report.matched)
            results.append(self._undone(bent, matched, 1.0, left))
        if not results:
            log.warning("outside of what is known: %s", report)
            return Harmonized(stack.image, report=replace(report, decision=OUTSIDE))
        if len(results) == 2 and self._distance(results[1], stack) > self.nearer * self._distance(results[0], stack):
            return results[0]
        return results[-1]

    def _undone(self, stack: Stack, scan: Estimate, top: float, report: ScannerReport) -> Harmonized:
        """The stack without what was estimated of it over its top."""
        mask, contrast = stack.mask[:, 0], self.prior.shrunk(scan.fit.contrast, self.any_probability).contrast
        gain = scan.gain(contrast, self.prior.expected, mask)
        restored = scan.restored(gain, mask)[:, None]
        matched = self.reference.match(replace(stack, image=restored))
        return Harmonized(torch.lerp(restored, matched, self.matching), gain=(gain / top)[:, None], report=report)

    def _distance(self, result: Harmonized, stack: Stack) -> float:
        """Squared, of a result from untouched scans; both are matched, in part or in whole."""
        again = self.estimate(result.image[:, 0], stack.mask[:, 0], stack.resampled)
        return self.prior.matched.distance(again.evidence)

    def _report(self, scan: Estimate, stack: Stack) -> ScannerReport:
        return ScannerReport.of(scan, self.prior.shrunk(scan.fit.contrast, self.any_probability), self.prior, stack)

    def estimate(
        self, image: Tensor, mask: Tensor, resampled: Widths = UNBLURRED, read: TextureFit | None = None
    ) -> Estimate:
        return estimate(image, mask, self.map_network, self.prior, read=read, resampled=resampled)

    def _outside(self, scan: Estimate) -> bool:
        unlikely = self.prior.unlikeliness(scan.fit.contrast) > self.unlikely
        return unlikely or self._beyond(scan.texture, scan.resolution)

    def _beyond(self, read: TextureFit, resolution: Resolution) -> bool:
        strong = resolution.noise > self.most_noise or resolution.width.max() > self.widest
        return read.misfit > self.misfit or bool(strong)
