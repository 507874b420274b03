"""Harmonize a scan or a BIDS folder: python -m harmony.harmonize input=IN output=OUT model=RUN method=blindharmony"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from harmony import __version__, app
from harmony.core import CheckpointError, ConfigError, DataError, Harmonized, Scan, Stack, interrupts
from harmony.core.model_card import ModelCard, sha256
from harmony.core.reference import Reference
from harmony.core.runs import fingerprint
from harmony.data import BidsFolder, Derivatives, Preprocess, read_nifti, single_scan, watched
from harmony.flows import ImageDensity
from harmony.methods import AdaptiveMethod, Method
from harmony.reports import QualityEntry, before_after_figure, quality_page


def harmonize(cfg: DictConfig) -> None:
    """Every scan of the input into the output folder, one at a time; a scan that is done is left alone."""
    scans = find_scans(cfg)
    run = Path(cfg.model).expanduser()
    card = ModelCard.load(run)
    worker = Worker(
        cfg, card, Derivatives(Path(cfg.output).expanduser()), *load(cfg, run, card), weights_used(cfg, run, card)
    )
    worker.output.describe(version=__version__, source=Path(cfg.input).resolve())
    bad: list[str] = []
    for scan in watched(scans, "harmonizing"):
        try:
            worker.one(scan)
        except DataError as error:
            if not cfg.skip_bad:
                raise
            bad.append(str(error))
        interrupts.check()
    entries = [entry(worker.output, scan) for scan in scans if worker.output.provenance(scan)]
    quality_page(worker.output.root / "quality.html", entries, bad, title=f"harmony: {cfg.method_name}")
    counts = f"{worker.made} scans harmonized, {worker.kept} were done, {len(bad)} bad"
    print(f"{counts}; peak memory {peak_memory_gb():.1f} GB")
    print(f"results in {cfg.output}, quality page {worker.output.root / 'quality.html'}")
    for line in bad:
        print(f"bad: {line}", file=sys.stderr)
    if bad:
        sys.exit(1)


class Worker:
    """What harmonizes one scan after the other."""

    def __init__(
        self,
        cfg: DictConfig,
        card: ModelCard,
        output: Derivatives,
        method: Method,
        density: ImageDensity,
        weights: str,
    ) -> None:
        self.cfg, self.card, self.output, self.method, self.density = cfg, card, output, method, density
        self.weights = weights
        settings = {key: value for key, value in card.preprocess.items() if key not in ("orientation", "version")}
        self.preprocess = Preprocess(**settings)
        if self.preprocess.settings()["version"] != card.preprocess["version"]:
            raise CheckpointError(f"{cfg.model}: made with another version of the preprocessing -> train it again")
        self.made = self.kept = 0

    def one(self, scan: Scan) -> None:
        """Harmonize, write image, sidecar and figure. Raises DataError for a scan that cannot be used."""
        made_from = self.made_from(scan)
        done = self.output.provenance(scan)
        if self.cfg.skip_done and done is not None and done.get("MadeFrom") == made_from:
            self.kept += 1
            return
        begin = time.perf_counter()
        native = read_nifti(scan.path, subject=scan.subject)
        volume = self.preprocess(scan)
        stack = volume.stack(volume.select(None, 1))
        made, iterations = self.apply(stack)
        image, gain = made.image.cpu(), None if made.gain is None else made.gain[:, 0].cpu()
        data = self.preprocess.restore(volume, image[:, 0], native, gain)
        if not self.cfg.original_scale:
            data = data / volume.scale
        before, after = self.bits_per_dim(stack.image), self.bits_per_dim(image)
        provenance = {
            "Sources": [scan.path.name],
            "SkullStripped": True,
            "MadeFrom": made_from,
            "Method": self.cfg.method_name,
            "MethodSettings": app.plain(self.cfg.method),
            "Model": self.card.name,
            "Reference": self.card.reference,
            "Iterations": iterations,
            **({"Scanner": made.report} if made.report else {}),
            "BitsPerDimension": {"before": before, "after": after, "worse": after > before},
            "Intensity": "as the scan" if self.cfg.original_scale else "1 is the robust maximum of the scan",
            "RobustMaximum": volume.scale,
            "Seconds": round(time.perf_counter() - begin, 2),
            "HarmonyVersion": __version__,
        }
        before_after_figure(self.output.figure(scan), volume.image, image[:, 0], title=scan.name)
        self.output.write(scan, data, native, provenance)
        self.made += 1
        print(f"  {scan.name}: bpd {before:.3f} -> {after:.3f}, {provenance['Seconds']} s", flush=True)

    def apply(self, stack: Stack) -> tuple[Harmonized, int]:
        """The harmonized slices, and how many iterations or passes it took."""
        target = app.device()
        moved = stack.to(target)
        passes = 0
        if isinstance(self.method, AdaptiveMethod):
            self.method.reset()
            passes = self.method.adapt([moved]).kept
        harmonized = self.method.harmonize(moved)
        return harmonized, passes or max((len(t) for t in harmonized.trace.values()), default=0)

    @torch.no_grad()
    def bits_per_dim(self, image: Tensor) -> float:
        """Mean over the slices, under the reference flow."""
        parts = [self.density.bits_per_dim(part.to(app.device())) for part in image.split(16)]
        return round(float(torch.cat(parts).mean()), 4)

    def made_from(self, scan: Scan) -> dict[str, Any]:
        """What decides the result: the files' bytes, the weights, the settings."""
        try:
            files = {"image": sha256(scan.path)} | ({"mask": sha256(scan.mask)} if scan.mask else {})
        except OSError as error:
            read_nifti(scan.path, subject=scan.subject)  # says what is wrong with the scan, if it is the scan
            raise DataError("cannot be read", cure="check the file", path=scan.path, subject=scan.subject) from error
        settings = [app.plain(self.cfg.method), self.card.preprocess, bool(self.cfg.original_scale), __version__]
        return files | {"weights": self.weights, "settings": fingerprint({"settings": settings})}


def find_scans(cfg: DictConfig) -> list[Scan]:
    """The scans of a file or of a BIDS folder."""
    path = Path(cfg.input).expanduser()
    if path.is_dir():
        if Path(cfg.output).expanduser().resolve() == path.resolve():
            raise ConfigError("output= is the input folder -> write into another, for example its derivatives/harmony")
        return BidsFolder(path, mask=cfg.mask).scans()
    if not path.exists():
        raise DataError("no such file or folder", cure="say which scan or BIDS folder to harmonize: input=", path=path)
    return [single_scan(path, Path(cfg.mask) if cfg.mask else None)]


def load(cfg: DictConfig, run: Path, card: ModelCard) -> tuple[Method, ImageDensity]:
    """The method and the reference flow, from run folders alone."""
    density = cast("ImageDensity", app.load_run(run, "flow"))
    networks: dict[str, torch.nn.Module] = {"flow": density}
    name = cfg.method_name
    chosen = OmegaConf.create({"methods": [name], "method": {name: app.plain(cfg.method)}})
    for stage in app.models_wanted(chosen)[1:]:
        if cfg.models.get(stage) is None:
            raise ConfigError(f"method={name} needs a trained {stage} -> models.{stage}=runs/models/{stage}-...")
        networks[stage] = app.load_run(Path(cfg.models[stage]), stage)
    reference = Reference.load(run / "reference.safetensors")
    return app.build_methods(chosen, networks, reference, card.score["flow/val_bpd"])[name], density


def weights_used(cfg: DictConfig, run: Path, card: ModelCard) -> str:
    """Changes with any learned file that a result may depend on."""
    others = [Path(path).expanduser() / "model.safetensors" for path in cfg.models.values() if path is not None]
    files = [run / "reference.safetensors", *others]
    return fingerprint({"weights": [card.weights, *(sha256(path) for path in files)]})


def entry(output: Derivatives, scan: Scan) -> QualityEntry:
    found = json.loads(output.sidecar(scan).read_text(encoding="utf-8"))["BitsPerDimension"]
    return QualityEntry(scan.name, found["before"], found["after"], output.figure(scan))


def peak_memory_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


main = app.entry_point(harmonize, config="harmonize")

if __name__ == "__main__":
    main()
