"""Harmonize a scan or a BIDS folder: python -m harmony.harmonize input=IN output=OUT model=RUN method=blindharmony"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from harmony import __version__, app
from harmony.core import ConfigError, DataError, Harmonized, Scan, Stack, interrupts
from harmony.core.machine import device
from harmony.core.model_card import sha256
from harmony.core.runs import fingerprint, without_words
from harmony.data import BidsFolder, Derivatives, brain_mask, read_nifti, single_scan, watched
from harmony.data.volumes.derivatives import relative_name
from harmony.data.volumes.plausible import skull_stripped
from harmony.evaluation import mean_bits_per_dim
from harmony.methods import AdaptiveMethod
from harmony.reports import QualityEntry, before_after_figure, quality_page


def harmonize(cfg: DictConfig) -> None:
    """Every scan of the input into the output folder, one at a time; a scan that is done is left alone."""
    scans, bad = find_scans(cfg)
    worker = Worker(cfg, app.load_applied(cfg), Derivatives(Path(cfg.output).expanduser()))
    worker.output.check(scans, cfg.method_name)
    worker.output.describe(version=__version__, source=Path(cfg.input).resolve())
    for scan in watched(scans, "harmonizing"):
        try:
            worker.one(scan)
        except DataError as error:
            if not cfg.skip_bad:
                raise
            bad.append(error)
        interrupts.check()
    entries = [entry(worker.output, scan) for scan in scans if worker.output.provenance(scan)]
    named = [each.public for each in bad]
    quality_page(worker.output.root / "quality.html", entries, named, title=f"harmony: {cfg.method_name}")
    counts = f"{worker.made} scans harmonized, {worker.kept} were done, {len(bad)} bad"
    print(f"{counts}; peak memory {peak_memory_gb():.1f} GB")
    print(f"results in {cfg.output}, quality page {worker.output.root / 'quality.html'}")
    for line in bad:
        print(f"bad: {line}", file=sys.stderr)
    if bad:
        sys.exit(1)


@dataclass
class Worker:
    """What harmonizes one scan after the other; how many it made, and how many were there."""

    cfg: DictConfig
    applied: app.Applied
    output: Derivatives
    made: int = 0
    kept: int = 0

    def one(self, scan: Scan) -> None:
        """Harmonize, write image, sidecar and figure. Raises DataError for a scan that cannot be used."""
        cfg, preprocess, density = self.cfg, self.applied.preprocess, self.applied.density
        made_from = self.made_from(scan)
        done = self.output.provenance(scan)
        if cfg.skip_done and done is not None and done.get("MadeFrom") == made_from:
            self.kept += 1
            return
        begin = time.perf_counter()
        native = read_nifti(scan.path, subject=scan.subject)
        volume = preprocess(scan)
        stack = volume.stack(volume.select(None, 1))
        made, iterations = self.apply(stack)
        image, gain = made.image.cpu(), None if made.gain is None else made.gain[:, 0].cpu()
        data = preprocess.restore(volume, image[:, 0], native, gain)
        if not cfg.original_scale:
            data = data / volume.scale
        before, after = (round(mean_bits_per_dim(density, each), 4) for each in (stack.image, image))
        provenance = {
            "Sources": [relative_name(scan.path, Path(self.cfg.input).expanduser())],
            "SkullStripped": skull_stripped(native, brain_mask(scan, native)),
            "BrainMask": scan.mask and relative_name(scan.mask, Path(self.cfg.input).expanduser()),
            "MadeFrom": made_from,
            "Method": cfg.method_name,
            "MethodSettings": without_words(app.plain(cfg.method)),
            "Model": self.applied.card.name,
            "Reference": self.applied.card.reference,
            "Iterations": iterations,
            **({"Scanner": made.report} if made.report else {}),
            "BitsPerDimension": {"before": before, "after": after, "worse": after > before},
            "Intensity": "as the scan" if cfg.original_scale else "1 is the robust maximum of the scan",
            "RobustMaximum": volume.scale,
            "Seconds": round(time.perf_counter() - begin, 2),
            "HarmonyVersion": __version__,
        }
        before_after_figure(self.output.figure(scan), volume.image, image[:, 0], title=scan.name)
        self.output.write(scan, data, native, provenance)
        self.made += 1
        print(f"  {scan.name}: bpd {before:.3f} -> {after:.3f}, {provenance['Seconds']} s", flush=True)

    def apply(self, stack: Stack) -> tuple[Harmonized, int]:
        """The harmonized slices and how many iterations or passes it took."""
        method, moved, passes = self.applied.method, stack.to(device()), 0
        if isinstance(method, AdaptiveMethod):
            method.reset()
            passes = method.adapt([moved]).kept
        harmonized = method.harmonize(moved)
        return harmonized, passes or max((len(t) for t in harmonized.trace.values()), default=0)

    def made_from(self, scan: Scan) -> dict[str, Any]:
        """What decides the result: the files' bytes, the weights, the settings."""
        try:
            files = {"image": sha256(scan.path)} | ({"mask": sha256(scan.mask)} if scan.mask else {})
        except OSError as error:
            read_nifti(scan.path, subject=scan.subject)  # says what is wrong with the scan, if it is the scan
            raise DataError("cannot be read", cure="check the file", path=scan.path, subject=scan.subject) from error
        constants = [self.applied.card.preprocess, bool(self.cfg.original_scale), __version__]
        settings = fingerprint({"settings": [app.plain(self.cfg.method), *constants]})
        return files | {"weights": self.applied.weights, "settings": settings}


def find_scans(cfg: DictConfig) -> tuple[list[Scan], list[DataError]]:
    """The scans of a file or of a BIDS folder, and the folder's bad ones, if they are to be skipped."""
    path = Path(cfg.input).expanduser()
    if path.is_dir():
        if Path(cfg.output).expanduser().resolve() == path.resolve():
            raise ConfigError("output= is the input folder -> write into another, for example its derivatives/harmony")
        found = BidsFolder(path, mask=cfg.mask).listing()
        if found.bad and not (cfg.skip_bad and found.scans):
            raise found.bad[0]
        return found.scans, found.bad
    if not path.exists():
        raise DataError("no such file or folder", cure="say which scan or BIDS folder to harmonize: input=", path=path)
    return [single_scan(path, Path(cfg.mask) if cfg.mask else None)], []


def entry(output: Derivatives, scan: Scan) -> QualityEntry:
    found = json.loads(output.sidecar(scan).read_text(encoding="utf-8"))["BitsPerDimension"]
    return QualityEntry(scan.name, found["before"], found["after"], output.figure(scan))


def peak_memory_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


main = app.entry_point(harmonize, config="harmonize")

if __name__ == "__main__":
    main()
