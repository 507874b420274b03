"""Harmonize a scan or a BIDS folder: python -m harmony.harmonize input=IN output=OUT model=RUN method=blindharmony"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from harmony import __version__, app
from harmony.core import CheckpointError, ConfigError, DataError, Scan, Stack, interrupts
from harmony.core.contrasts import refuse_other_contrast
from harmony.core.model_card import ModelCard, sha256
from harmony.core.models import resolve_model
from harmony.core.reference import Reference
from harmony.core.runs import fingerprint
from harmony.data import BidsFolder, Derivatives, Preprocess, read_nifti, single_scan
from harmony.data.bids import chosen
from harmony.data.brain_extraction import AUTO, brain_mask_of, find_tool
from harmony.data.head import refuse_a_head
from harmony.data.shared_queue import helpers, in_turn
from harmony.flows import ImageDensity
from harmony.methods import AdaptiveMethod, Method
from harmony.reports import QualityEntry, before_after_figure, quality_page

HELPER = 0  # workers= of a process that another one started


def harmonize(cfg: DictConfig) -> None:
    """Every scan of the input into the output folder, one at a time; a scan that is done is left alone."""
    run, card = find_model(cfg)
    scans = find_scans(cfg, card.contrast)
    worker = Worker(
        cfg, card, Derivatives(Path(cfg.output).expanduser()), *load(cfg, run, card), weights_used(cfg, run, card)
    )
    worker.output.describe(version=__version__, source=Path(cfg.input).resolve())
    bad: list[str] = []
    with helpers(*helping(cfg, len(scans))):
        for scan in in_turn(scans, worker.output.lock, "harmonizing"):
            try:
                worker.one(scan)
            except DataError as error:
                if not cfg.skip_bad:
                    raise
                bad.append(str(error))
            interrupts.check()
    if cfg.workers == HELPER:
        return  # the process that started it says how it went
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
        self.tool = find_tool() if cfg.mask == AUTO else None
        self.made = self.kept = 0

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
        refuse_a_head(scan, native)
        volume = self.preprocess(scan)
        stack = volume.stack(volume.select(None, 1))
        image, iterations = self.apply(stack)
        data = self.preprocess.restore(volume, image[:, 0], native)
        if not self.cfg.original_scale:
            data = data / volume.scale
        before, after = self.bits_per_dim(stack.image), self.bits_per_dim(image)
        provenance = {
            "Sources": [scan.path.name],
            "SkullStripped": True,
            **extraction,
            "MadeFrom": made_from,
            "Method": self.cfg.method_name,
            "MethodSettings": app.plain(self.cfg.method),
            "Model": self.card.name,
            "Reference": self.card.reference,
            "Iterations": iterations,
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

    def with_mask(self, scan: Scan) -> tuple[Scan, dict[str, Any]]:
        """The scan with the brain mask of mask=auto, and what the sidecar says of that."""
        if self.tool is None:
            return scan, {}
        made = brain_mask_of(scan, self.output.mask(scan), self.tool)
        return replace(scan, mask=made.path), {"BrainExtraction": {"Tool": made.tool, "Version": made.version}}

    def apply(self, stack: Stack) -> tuple[Tensor, int]:
        """The harmonized slices (S, 1, H, W), on the CPU, and how many iterations or passes it took."""
        target = app.device()
        moved = stack.to(target)
        passes = 0
        if isinstance(self.method, AdaptiveMethod):
            self.method.reset()
            passes = self.method.adapt([moved]).kept
        harmonized = self.method.harmonize(moved)
        return harmonized.image.cpu(), passes or max((len(t) for t in harmonized.trace.values()), default=0)

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
        by = [] if self.tool is None else [self.tool.program, self.tool.version(self.tool.program)]
        settings = [app.plain(self.cfg.method), *by, self.card.preprocess, bool(self.cfg.original_scale), __version__]
        return files | {"weights": self.weights, "settings": fingerprint({"settings": settings})}


def find_model(cfg: DictConfig) -> tuple[Path, ModelCard]:
    """The flow's run folder and card. A packed model's further stages become settings, where none is said."""
    model = resolve_model(cfg.model, runs=Path(cfg.runs).expanduser(), cache=Path(cfg.cache).expanduser())
    for stage, folder in model.stages.items():
        if cfg.models.get(stage) is None:
            cfg.models[stage] = str(folder)
    return model.flow, ModelCard.load(model.flow)


def find_scans(cfg: DictConfig, contrast: str) -> list[Scan]:
    """The scans of a file or of a BIDS folder, of the model's contrast."""
    path = Path(cfg.input).expanduser()
    mask = None if cfg.mask == AUTO else cfg.mask
    if path.is_dir():
        if Path(cfg.output).expanduser().resolve() == path.resolve():
            raise ConfigError("output= is the input folder -> write into another, for example its derivatives/harmony")
        scans = BidsFolder(path, mask=mask, suffix=contrast).scans()
        return chosen(scans, participants=cfg.participants, sessions=cfg.sessions)
    if not path.exists():
        raise DataError("no such file or folder", cure="say which scan or BIDS folder to harmonize: input=", path=path)
    scan = single_scan(path, Path(mask).expanduser() if mask else None, otherwise=contrast)
    refuse_other_contrast(scan, contrast)
    return [scan]


def helping(cfg: DictConfig, scans: int) -> tuple[list[str], int]:
    """The command of the further processes that `workers` asks for, and how many there are to be."""
    if cfg.workers != HELPER and cfg.workers < 1:
        raise ConfigError(f"workers={cfg.workers}: at least 1")
    words = [*HydraConfig.get().overrides.task, f"workers={HELPER}"]
    return [sys.executable, "-m", "harmony.harmonize", *words], max(min(cfg.workers, scans) - 1, 0)


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
