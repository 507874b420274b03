"""A reference scanner learned from its scans, through the tissue network of a model that is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from harmony.cohort.learning import ADVISED, Learner, enough, gather
from harmony.cohort.packing import PRIOR, TISSUE, pack_reference
from harmony.core import CheckpointError, Scan, interrupts
from harmony.core.digests import sha256
from harmony.core.model_card import ModelCard
from harmony.core.models import resolve_model
from harmony.core.packed_model import REFERENCE, About, Manifest
from harmony.core.progress import watched
from harmony.core.reference import Reference
from harmony.data import Preprocess, read_nifti
from harmony.data.volumes.brain_extraction import with_brain
from harmony.data.volumes.cache import VolumeCache
from harmony.delivery.loading import load_run, preprocess_of
from harmony.scanner import Calibration, MapNetwork, Prior

SERVES = ("none", "histogram_matching", "nyul", "scanner_inversion")  # methods that a model without a flow serves


@dataclass(frozen=True)
class TissueModel:
    """A trained tissue network with what its own reference scans showed. folder: its run folder. origin: whose scans
    it was trained on."""

    name: str
    folder: Path
    network: MapNetwork
    prior: Prior
    reference: Reference
    preprocess: Preprocess
    origin: str

    def learner(self, margin: float) -> Learner:
        """Of another scanner's scans, with this network. margin: see `Calibration`."""
        return Learner(
            network=self.network,
            calibration=Calibration(frequencies=len(self.prior.spectrum), every=1, margin=margin),
            known=self.prior,
            positions=len(self.reference.mean_slices),
            quantiles=self.reference.intensities.shape[1],
        )


def load_tissue_model(cfg: DictConfig) -> TissueModel:
    """Of `model`. Raises CheckpointError for one without a tissue network."""
    model = resolve_model(cfg.model, runs=Path(cfg.runs).expanduser(), cache=Path(cfg.cache).expanduser())
    folder = model.of(TISSUE)
    if folder is None:
        raise CheckpointError(f"{model.name}: no tissue network in it -> leave model= out, for the one installed")
    card = ModelCard.load(folder)
    return TissueModel(
        model.name,
        folder,
        load_run(folder, TISSUE),
        Prior.load(folder / PRIOR),
        Reference.load(model.home / REFERENCE),
        preprocess_of(card, folder, only_plausible=cfg.only_plausible),
        f"tissue network of {model.name}" + (f": {model.origin} ({model.licence})" if model.origin else ""),
    )


def learn_reference(cfg: DictConfig, scans: Sequence[Scan], out: Path, about: About) -> Manifest:
    """The scans' scanner as a packed model at `out`. Says who was left out. about: its words on how it was made, and
    on the network's origin, are added.

    Raises ConfigError for too few scans, children, mixed scanners; DataError for a scan that cannot be used.
    """
    enough(len(scans), "scans")
    base, cache = load_tissue_model(cfg), Path(cfg.cache).expanduser()
    masked = [with_mask(scan, cache / "brains", cfg.mask) for scan in watched(scans, "looking for brains")]
    gathered = gather(masked, VolumeCache(cache / "volumes", base.preprocess), base.network)
    for odd in gathered.left_out:
        print(f"left out: {odd.name}: {odd.reason}", flush=True)
    count = len(gathered.volumes)
    if count < ADVISED:
        print(f"{count} scans: that is enough; with {ADVISED} or more it is surer", flush=True)
    learned = base.learner(cfg.margin).learn(gathered.volumes)
    words = f"harmony reference, {count} scans, {len(gathered.left_out)} left out"
    about = About(about.name, about.licence, f"{about.scans or 'not stated'}; {base.origin}", [words])
    used = [volume.scan for volume in gathered.volumes]
    return pack_reference(out, base.folder, learned, used, about, SERVES)


def with_mask(scan: Scan, folder: Path, mask: str | None) -> Scan:
    """With a brain mask where it needs one, kept in `folder` by the image's content."""
    interrupts.check()
    native = read_nifti(scan.path, subject=scan.subject)
    return with_brain(scan, folder / f"{scan.name}-{sha256(scan.path)[:16]}_mask.nii.gz", mask, native)[0]
