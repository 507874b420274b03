"""Harmonize a scan or a BIDS folder: python -m harmony.harmonize input=IN output=OUT model=RUN method=blindharmony"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from harmony import __version__, app
from harmony.core import ConfigError, DataError, Harmonized, Scan, Stack, interrupts
from harmony.core.contrasts import refuse_other_contrast
from harmony.core.machine import device
from harmony.core.model_card import sha256
from harmony.core.runs import fingerprint, without_words
from harmony.data import BidsFolder, Derivatives, Nifti, brain_mask, read_nifti, single_scan
from harmony.data.volumes.brain_extraction import AUTO, Tool, brain_mask_of, find_tool
from harmony.data.volumes.derivatives import Result, relative_name
from harmony.data.volumes.plausible import skull_stripped
from harmony.data.volumes.shared_queue import helpers, in_turn
from harmony.evaluation import mean_bits_per_dim
from harmony.methods import AdaptiveMethod
from harmony.methods.scanner_report import in_words, left_alone
from harmony.reports import QualityEntry, before_after_figure, quality_page

SETTINGS = ("Method", "MethodSettings", "Model", "Reference", "Intensity", "HarmonyVersion")  # of the sidecar
HELPER = 0  # workers= of a process that another one started


def harmonize(cfg: DictConfig) -> None:
    """Every scan of the input into the output folder, one at a time; a scan that is done is left alone."""
    applied = app.load_applied(cfg)
    scans, bad = find_scans(cfg, applied.card.contrast)
    tool = find_tool() if cfg.mask == AUTO else None
    worker = Worker(cfg, applied, Derivatives(Path(cfg.output).expanduser(), cfg.method_name), tool)
    worker.output.check(scans)
    worker.output.describe(version=__version__, source=Path(cfg.input).resolve())
    with helpers(*helping(cfg, len(scans))):
        for scan in in_turn(scans, worker.output.lock, "harmonizing"):
            try:
                worker.one(scan)
            except DataError as error:
                if not cfg.skip_bad:
                    raise
                bad.append(error)
            interrupts.check()
    if cfg.workers != HELPER:  # the process that started it says how it went
        tell(worker, bad)


def tell(worker: Worker, bad: list[DataError]) -> None:
    """The quality page of all that is in the output, and on screen how it went. Exits with code 1 for a bad scan."""
    page = worker.output.root / "quality.html"
    quality_page(page, [entry(result) for result in worker.output.results()], [each.public for each in bad])
    counts = f"{worker.made} scans harmonized, {worker.kept} were done, {len(bad)} bad"
    print(f"{counts}; peak memory {peak_memory_gb():.1f} GB")
    print(f"results in {worker.cfg.output}, quality page {page}")
    for line in bad:
        print(f"bad: {line}", file=sys.stderr)
    if bad:
        sys.exit(1)


@dataclass
class Worker:
    """What harmonizes one scan after the other; how many it made, and how many were there. tool: of mask=auto."""

    cfg: DictConfig
    applied: app.Applied
    output: Derivatives
    tool: Tool | None
    made: int = 0
    kept: int = 0

    def one(self, scan: Scan) -> None:
        """Harmonize, write image, sidecar and figure. Raises DataError for a scan that cannot be used."""
        made_from = self.made_from(scan)
        done = self.output.provenance(scan)
        if self.cfg.skip_done and done is not None and done.get("MadeFrom") == made_from:
            self.kept += 1
            return
        begin = time.perf_counter()
        scan, extraction = self.with_mask(scan)
        native = read_nifti(scan.path, subject=scan.subject)
        volume = self.applied.preprocess(scan)
        stack = volume.stack(volume.select(None, 1))
        made, iterations = self.apply(stack, scan.subject)
        image, gain = made.image.cpu(), None if made.gain is None else made.gain[:, 0].cpu()
        data = self.applied.preprocess.restore(volume, image[:, 0], native, gain)
        if not self.cfg.original_scale:
            data = self.applied.preprocess.relative(volume, data, native)
        provenance = {
            **self.origin(scan, native),
            **extraction,
            "MadeFrom": made_from,
            "Iterations": iterations,
            **({"Scanner": made.report} if made.report else {}),
            "BitsPerDimension": (bpd := self.bits_per_dim(stack.image, image)),
            "RobustMaximum": volume.scale,
            "IntensityZero": volume.zero,
            "Remarks": list(volume.remarks),
            "Seconds": round(time.perf_counter() - begin, 2),
        }
        before_after_figure(self.output.figure(scan), volume.image, image[:, 0])
        self.output.write(scan, data, native, provenance)
        self.made += 1
        alone = left_alone(made.report or {})
        said = f"left alone, as {alone}" if alone else f"bpd {bpd['before']:.3f} -> {bpd['after']:.3f}"
        print(f"  {scan.name}: {said}, {provenance['Seconds']} s", flush=True)

    def origin(self, scan: Scan, native: Nifti) -> dict[str, Any]:
        """What the sidecar says of scan, model and method."""
        root = Path(self.cfg.input).expanduser()
        return {
            "Description": f"harmonized by {self.cfg.method_name} into the domain of {self.applied.name}",
            "Sources": [relative_name(scan.path, root)],
            "SkullStripped": skull_stripped(native, brain_mask(scan, native)),
            "BrainMask": scan.mask and relative_name(scan.mask, root),
            "Method": self.cfg.method_name,
            "MethodSettings": without_words(app.plain(self.cfg.method)),
            "Model": self.applied.name,
            "Reference": self.applied.card.reference,
            "Intensity": "as the scan" if self.cfg.original_scale else "1 is the robust maximum of the scan",
            "HarmonyVersion": __version__,
        }

    def with_mask(self, scan: Scan) -> tuple[Scan, dict[str, Any]]:
        """The scan with the brain mask of mask=auto, and what the sidecar says of that."""
        if self.tool is None:
            return scan, {}
        made = brain_mask_of(scan, self.output.mask(scan), self.tool)
        return replace(scan, mask=made.path), {"BrainExtraction": {"Tool": made.tool, "Version": made.version}}

    def apply(self, stack: Stack, subject: str) -> tuple[Harmonized, int]:
        """The harmonized slices and how many iterations or passes it took."""
        method, moved, passes = self.applied.method, stack.to(device()), 0
        if isinstance(method, AdaptiveMethod):
            method.reset()
            passes = method.adapt([moved]).kept
        harmonized = method.harmonize(moved)
        harmonized.refuse_no_numbers(self.cfg.method_name, subject)
        return harmonized, passes or max((len(t) for t in harmonized.trace.values()), default=0)

    def bits_per_dim(self, *images: Tensor) -> dict[str, Any]:
        """Under the reference flow, of the images before and after."""
        before, after = (round(mean_bits_per_dim(self.applied.density, each), 4) for each in images)
        return {"before": before, "after": after, "worse": after > before}

    def made_from(self, scan: Scan) -> dict[str, Any]:
        """What decides the result: the files' bytes, the weights, the settings."""
        try:
            files = {"image": sha256(scan.path)} | ({"mask": sha256(scan.mask)} if scan.mask else {})
        except OSError as error:
            read_nifti(scan.path, subject=scan.subject)  # says what is wrong with the scan, if it is the scan
            raise DataError("cannot be read", cure="check the file", path=scan.path, subject=scan.subject) from error
        by = [] if self.tool is None else [self.tool.program, self.tool.version(self.tool.program)]
        constants = [*by, self.applied.card.preprocess, bool(self.cfg.original_scale), __version__]
        settings = fingerprint({"settings": [app.plain(self.cfg.method), *constants]})
        return files | {"weights": self.applied.weights, "settings": settings}


def find_scans(cfg: DictConfig, contrast: str) -> tuple[list[Scan], list[DataError]]:
    """The scans of a file or of a BIDS folder, of the model's contrast, and the folder's bad ones, if they are to be
    skipped."""
    path = Path(cfg.input).expanduser()
    mask = None if cfg.mask == AUTO else cfg.mask
    if path.is_dir():
        if Path(cfg.output).expanduser().resolve() == path.resolve():
            raise ConfigError("output= is the input folder -> write into another, for example its derivatives/harmony")
        found = BidsFolder(path, mask=mask, suffix=contrast, people=False).listing()
        return found.chosen(participants=cfg.participants, sessions=cfg.sessions, skip_bad=cfg.skip_bad)
    if not path.exists():
        raise DataError("no such file or folder", cure="say which scan or BIDS folder to harmonize: input=", path=path)
    scan = single_scan(path, Path(mask).expanduser() if mask else None, otherwise=contrast)
    refuse_other_contrast(scan, contrast)
    return [scan], []


def helping(cfg: DictConfig, scans: int) -> tuple[list[str], int]:
    """The command of the further processes that `workers` asks for, and how many there are to be."""
    if cfg.workers != HELPER and cfg.workers < 1:
        raise ConfigError(f"workers={cfg.workers}: at least 1")
    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)  # a `${...}` stays one
    words = [*cast("list[str]", typed), f"workers={HELPER}"]
    return [sys.executable, "-m", "harmony.harmonize", *words], max(min(cfg.workers, scans) - 1, 0)


def entry(result: Result) -> QualityEntry:
    """A result on the quality page."""
    about = result.about
    bpd, scanner = about["BitsPerDimension"], about.get("Scanner", {})
    return QualityEntry(
        result.name,
        bpd["before"],
        bpd["after"],
        result.figure,
        left_alone=left_alone(scanner),
        facts=[("method", about["Method"]), *in_words(scanner), ("took", f"{about['Seconds']:g} s")],
        settings={name: about[name] for name in SETTINGS},
    )


def peak_memory_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


main = app.entry_point(harmonize, config="harmonize")

if __name__ == "__main__":
    main()
