"""One scan after the other: harmonize it, and write image, sidecar and picture."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from harmony import __version__
from harmony.core import DataError, Harmonized, Report, Scan, Stack
from harmony.core.digests import sha256
from harmony.core.machine import device
from harmony.core.runs import fingerprint, without_words
from harmony.data import Nifti, brain_mask, read_nifti
from harmony.data.volumes.brain_extraction import may_find, with_brain
from harmony.data.volumes.plausible import skull_stripped
from harmony.delivery.applied import Applied
from harmony.delivery.derivatives import Derivatives, relative_name
from harmony.delivery.request import Request
from harmony.flows import mean_bits_per_dim
from harmony.methods import AdaptiveMethod
from harmony.reports import before_after_figure


@dataclass
class Worker:
    """What harmonizes one scan after the other; how many it harmonized, and how many were done."""

    request: Request
    applied: Applied
    output: Derivatives
    harmonized: int = 0
    done: int = 0

    def one(self, scan: Scan) -> None:
        """Harmonize, write image, sidecar and figure. Raises DataError for a scan that cannot be used."""
        origin = self.made_from(scan)
        former = self.output.provenance(scan)
        if self.request.skip_done and former is not None and former.get("MadeFrom") == origin:
            self.done += 1
            return
        begin = time.perf_counter()
        native = read_nifti(scan.path, subject=scan.subject)
        scan, extraction = self.with_mask(scan, native)
        volume = self.applied.preprocess(scan)
        stack = volume.stack(volume.select(None, 1))
        result, iterations = self.apply(stack, scan.subject)
        image, gain = result.image.cpu(), None if result.gain is None else result.gain[:, 0].cpu()
        data = self.applied.preprocess.restore(volume, image[:, 0], native, gain, result.curve)
        if not self.request.original_scale:
            data = self.applied.preprocess.relative(volume, data, native)
        sidecar = {
            **self.about(scan, native),
            **extraction,
            "MadeFrom": origin,
            "Iterations": iterations,
            **findings(result.report),
            "BitsPerDimension": (bpd := self.bits_per_dim(stack.image, image)),
            "RobustMaximum": volume.scale,
            "IntensityZero": volume.zero,
            "Remarks": list(volume.remarks),
            "Seconds": round(time.perf_counter() - begin, 2),
        }
        before_after_figure(self.output.figure(scan), volume.image, image[:, 0])
        self.output.write(scan, data, native, sidecar)
        self.harmonized += 1
        alone = result.report and result.report.left_alone
        outcome = f"left alone, as {alone}" if alone else f"bpd {bpd['before']:.3f} -> {bpd['after']:.3f}"
        print(f"  {scan.name}: {outcome}, {sidecar['Seconds']} s", flush=True)

    def about(self, scan: Scan, native: Nifti) -> dict[str, Any]:
        """What the sidecar says of scan, model and method."""
        request, root = self.request, self.request.source
        return {
            "Description": f"harmonized by {request.method} into the domain of {self.applied.name}",
            "Sources": [relative_name(scan.path, root)],
            "SkullStripped": skull_stripped(native, brain_mask(scan, native)),
            "BrainMask": scan.mask and relative_name(scan.mask, root),
            "Method": request.method,
            "MethodSettings": without_words(request.settings),
            "Model": self.applied.name,
            "Reference": self.applied.card.reference,
            "Intensity": "as the scan" if request.original_scale else "1 is the robust maximum of the scan",
            "HarmonyVersion": __version__,
        }

    def with_mask(self, scan: Scan, native: Nifti) -> tuple[Scan, dict[str, Any]]:
        """The scan with the brain mask that a tool finds, if it needs one, and what the sidecar says of that."""
        masked, mask = with_brain(scan, self.output.mask(scan), self.request.mask, native)
        return masked, {} if mask is None else {"BrainExtraction": {"Tool": mask.tool, "Version": mask.version}}

    def apply(self, stack: Stack, subject: str) -> tuple[Harmonized, int]:
        """The harmonized slices and how many iterations or passes it took."""
        method, moved, passes = self.applied.method, stack.to(device()), 0
        if isinstance(method, AdaptiveMethod):
            method.reset()
            passes = method.adapt([moved]).kept
        harmonized = method.harmonize(moved)
        harmonized.refuse_no_numbers(self.request.method, subject)
        return harmonized, passes or max((len(t) for t in harmonized.trace.values()), default=0)

    def bits_per_dim(self, *images: Tensor) -> dict[str, Any]:
        """Under the reference flow, of the images before and after."""
        before, after = (round(mean_bits_per_dim(self.applied.density, image), 4) for image in images)
        return {"before": before, "after": after, "worse": after > before}

    def made_from(self, scan: Scan) -> dict[str, Any]:
        """What decides the result: the files' bytes, the weights, the settings."""
        request, tool = self.request, may_find(self.request.mask)
        try:
            files = {"image": sha256(scan.path)} | ({"mask": sha256(scan.mask)} if scan.mask else {})
        except OSError as error:
            read_nifti(scan.path, subject=scan.subject)  # says what is wrong with the scan, if it is the scan
            raise DataError("cannot be read", cure="check the file", path=scan.path, subject=scan.subject) from error
        by = [] if tool is None else [tool.program, tool.version(tool.program)]
        constants = [*by, self.applied.card.preprocess, request.original_scale, __version__]
        settings = fingerprint({"settings": [dict(request.settings), *constants]})
        return files | {"weights": self.applied.weights, "settings": settings}


def findings(report: Report | None) -> dict[str, Any]:
    """What the sidecar says of a method's report: as numbers, and as `Findings` for people, who read them on a page."""
    if report is None:
        return {}
    return {**report.sidecar(), "Findings": dict(report.words()), "LeftAlone": report.left_alone}
