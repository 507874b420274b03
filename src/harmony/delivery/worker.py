"""One scan after the other: harmonize it, and write image, sidecar and picture."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from harmony import __version__
from harmony.core import DataError, Harmonized, Report, Scan, Stack, Volume
from harmony.core.digests import sha256
from harmony.core.machine import device
from harmony.core.runs import fingerprint, without_words
from harmony.core.unlike import unlike
from harmony.data import Nifti, brain_mask, read_nifti
from harmony.data.volumes.brain_extraction import may_find, with_brain
from harmony.data.volumes.plausible import skull_stripped
from harmony.delivery.applied import Applied
from harmony.delivery.derivatives import relative_name
from harmony.delivery.output import Output
from harmony.delivery.picture import draw
from harmony.delivery.promise import Promise, Unit
from harmony.delivery.request import Request
from harmony.delivery.words import own_words
from harmony.methods import AdaptiveMethod

UNITS = {True: "the scan's own", False: "the reference's: 1 is the robust maximum of a reference scan"}


@dataclass
class Worker:
    """What harmonizes one scan after the other; how many were harmonized, and how many were done.

    begun: when the call began (ns since 1970): what another process of it has harmonized since then counts as
    harmonized, and is not done again.
    """

    request: Request
    applied: Applied
    output: Output
    begun: int = 2**63
    harmonized: int = 0
    done: int = 0

    def one(self, scan: Scan) -> None:
        """Harmonize, write image, sidecar and figure. Raises DataError for a scan that cannot be used."""
        with own_words():
            origin = self.made_from(scan)
            if self.is_done(scan, origin):
                return
            begin = time.perf_counter()
            native = read_nifti(scan.path, subject=scan.subject)
            scan, extraction = self.with_mask(scan, native)
            about = {**extraction, "MadeFrom": origin}
            self.harmonize(scan, native, about, begin)
            self.harmonized += 1

    def is_done(self, scan: Scan, origin: dict[str, Any]) -> bool:
        """Whether the result is there, made of the same files by the same model and settings."""
        former = self.output.provenance(scan)
        if former is None or former.get("MadeFrom") != origin:
            return False
        ours = self.output.sidecar(scan).stat().st_mtime_ns >= self.begun
        if not (self.request.skip_done or ours):
            return False
        self.harmonized, self.done = self.harmonized + ours, self.done + (not ours)
        return True

    def harmonize(self, scan: Scan, native: Nifti, about: dict[str, Any], begin: float) -> None:
        """about: what the sidecar says so far."""
        volume = self.applied.preprocess(scan)
        stack = volume.stack(volume.select(None, 1))
        warnings = self.warnings(scan, stack)
        result, iterations = self.apply(stack, scan.subject)
        image = result.image.cpu()
        data, promise = self.put_back(volume, native, result)
        reach = promise.check(data, image[:, 0].numpy())
        about |= {
            **self.about(scan, promise),
            "Iterations": iterations,
            "Warnings": warnings,
            **findings(result.report),
            **(self.bits_per_dim(stack.image, image) if self.request.bits_per_dim else {}),
            "MeanChange": round(float((image - stack.image)[stack.mask].abs().mean()), 4),
            **reach.sidecar(),
            "RobustMaximum": volume.scale,
            "IntensityZero": volume.zero,
            "Remarks": [*volume.remarks, *reach.remarks()],
            "Seconds": round(time.perf_counter() - begin, 2),
        }
        if (figure := self.output.figure(scan)) is not None:
            draw(figure, promise, data, image[:, 0], self.applied.reference)
        self.output.write(scan, data, native, about)
        print(f"  {scan.name}: {'; '.join(outcome(about))}, {about['Seconds']} s", flush=True)

    def put_back(self, volume: Volume, native: Nifti, result: Harmonized) -> tuple[np.ndarray, Promise]:
        """(X, Y, Z) on the scan's grid, in the unit that was asked for, and what is to hold of it."""
        preprocess, scan = self.applied.preprocess, volume.scan
        image, gain = result.image[:, 0].cpu(), None if result.gain is None else result.gain[:, 0].cpu()
        data, untouched = preprocess.restore(volume, image, native, gain, result.curve), native.data
        unit = Unit(volume.zero, volume.scale)
        if not self.request.own_unit:
            data, untouched = (preprocess.relative(volume, values, native) for values in (data, untouched))
            unit = Unit(0.0, 1.0)
        return data, Promise(native, untouched, brain_mask(scan, native), volume, unit)

    def warnings(self, scan: Scan, stack: Stack) -> list[str]:
        """What stands against trusting the result, whatever the method (`unlike`)."""
        if self.applied.reference is None:
            return []
        return unlike(stack, self.applied.reference, scan.age, self.applied.card.reference.get("ages", ()))

    def about(self, scan: Scan, promise: Promise) -> dict[str, Any]:
        """What the sidecar says of scan, model and method."""
        request, root = self.request, self.request.source_of(scan.path)
        return {
            "Description": f"harmonized by {request.method} into the domain of {self.applied.name}",
            "Sources": [relative_name(scan.path, root)],
            "SkullStripped": skull_stripped(promise.native, promise.brain),
            "BrainMask": scan.mask and relative_name(scan.mask, root),
            "Method": request.method,
            "MethodSettings": without_words(request.settings),
            "Model": self.applied.name,
            "Reference": self.applied.card.reference,
            "Intensity": UNITS[request.own_unit],
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
        from harmony.flows import mean_bits_per_dim

        if self.applied.density is None:
            raise ValueError("no flow was loaded to score with")
        before, after = (round(mean_bits_per_dim(self.applied.density, image), 4) for image in images)
        return {"BitsPerDimension": {"before": before, "after": after}}

    def made_from(self, scan: Scan) -> dict[str, Any]:
        """What decides the result: the files' bytes, the weights, the settings."""
        request, tool = self.request, may_find(self.request.mask)
        files = {"image": digest(scan, scan.path)} | ({"mask": digest(scan, scan.mask)} if scan.mask else {})
        by = [] if tool is None else [tool.program, tool.version(tool.program)]
        constants = [*by, self.applied.card.preprocess, request.own_unit, __version__]
        settings = fingerprint({"settings": [dict(request.settings), *constants]})
        return files | {"weights": self.applied.weights, "settings": settings}


def digest(scan: Scan, path: Any) -> str:
    """SHA-256 of a scan's image or mask. Raises DataError, which says what is wrong, for one that cannot be read."""
    try:
        return sha256(path)
    except OSError as error:
        read_nifti(path, subject=scan.subject)
        raise DataError("cannot be read", cure="check the file", path=path, subject=scan.subject) from error


def findings(report: Report | None) -> dict[str, Any]:
    """What the sidecar says of a method's report: as numbers, and as `Findings` for people, who read them on a page."""
    if report is None:
        return {}
    return {**report.sidecar(), "Findings": dict(report.words()), "LeftAlone": report.left_alone}


def outcome(about: dict[str, Any]) -> list[str]:
    """How it went, for the screen."""
    alone, bpd = about.get("LeftAlone"), about.get("BitsPerDimension")
    words = [f"left alone, as {alone}" if alone else f"changed by {about['MeanChange']:.1%} of the robust maximum"]
    words += [f"bpd {bpd['before']:.3f} -> {bpd['after']:.3f}"] if bpd else []
    return words + about["Warnings"] + about["Remarks"]
