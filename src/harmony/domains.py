"""The query domains of an evaluation: simulated scanners and real ones, as cases with what is known of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from math import inf

import torch
from omegaconf import DictConfig
from torch import Tensor

from harmony import app
from harmony.core import REFERENCE, DataError, Scan, Stack, Volume, of_subjects
from harmony.data import QueryScanner, SliceDataModule, load_volumes, on_grid_of, on_one_lattice
from harmony.downstream import Truth
from harmony.metrics import white_surroundings

log = logging.getLogger(__name__)
NAMED = 5  # subjects that a message names before "..."


@dataclass(frozen=True)
class Slices:
    """The scored slices of a case. truth: the same slices on the reference scanner; None where there are none.

    known: what a judge's answers are compared with. lesions, white_matter: (S, H, W) bool, the lesions of the query and
    the white matter around them (`metrics.white_surroundings`, the same for every method); None without lesion mask.
    """

    query: Stack
    truth: Stack | None
    known: Truth
    lesions: Tensor | None
    white_matter: Tensor | None

    @property
    def shown(self) -> int:
        """The slice to draw: with most of the lesions; the middle one where there are none."""
        if self.lesions is None or not self.lesions.any():
            return len(self.query) // 2
        return int(self.lesions.flatten(1).sum(1).argmax())


@dataclass(frozen=True)
class Case:
    """One scored scan. scanner: makes the query of it; None where it is the query. truth: on the grid of the scan."""

    scan: Volume
    truth: Volume | None
    scanner: QueryScanner | None = None

    @property
    def name(self) -> str:
        return self.scan.scan.name

    @property
    def subject(self) -> str:
        return self.scan.scan.subject

    def cut(self, cfg: DictConfig) -> Slices:
        """The slices of `data.count` and `data.step`. Labels are the truth's; without one, the query's."""
        query = self.scanner(self.scan) if self.scanner else self.scan
        index = query.select(cfg.data.count, cfg.data.step)
        stack, spacing = query.stack(index), query.spacing(index)
        known = query if self.truth is None else self.truth
        lesions = white = None
        if query.lesions is not None:
            lesions = query.lesions[index]
            ring = {"spacing": spacing, "ring_mm": cfg.evaluation.lesion_ring}
            white = torch.from_numpy(white_surroundings(stack.image[:, 0], lesions, stack.mask[:, 0], **ring))
        age = known.scan.age if query.scan.age is None else query.scan.age
        labels = None if known.labels is None else known.labels[index]
        return Slices(
            query=stack,
            truth=None if self.truth is None else self.truth.stack(index),
            known=Truth(self.name, spacing, labels, age, self.subject),
            lesions=lesions,
            white_matter=white,
        )


@dataclass(frozen=True)
class QueryDomain:
    """scanner: the simulated one; None for the reference and for real domains.

    adapt_on: whose queries methods adapt to. left_out: who is not scored, and why, in words.
    """

    name: str
    cases: list[Case]
    adapt_on: list[Case]
    scanner: QueryScanner | None = None
    left_out: list[str] = field(default_factory=list)


def query_domains(cfg: DictConfig, data: SliceDataModule) -> list[QueryDomain]:
    """The untouched reference where it is included, then those of `data.query`.

    Raises DataError for a real domain without a scan that may be scored.
    """
    scored, adapt_on = (
        of_subjects(data.volumes(part), cfg.evaluation.subjects, lambda volume: volume.scan.subject)
        for part in (cfg.evaluation.part, cfg.evaluation.adapt_on)
    )

    def simulated(name: str, scanner: QueryScanner | None) -> QueryDomain:
        cases, others = ([Case(volume, volume, scanner) for volume in volumes] for volumes in (scored, adapt_on))
        return QueryDomain(name, cases, others, scanner)

    reference = [simulated(REFERENCE, None)] if cfg.evaluation.include_reference else []
    return reference + [
        real_domain(cfg, data, name, scored) if name in cfg.data.real else simulated(name, app.scanner(cfg, name))
        for name in cfg.data.query
    ]


def real_domain(cfg: DictConfig, data: SliceDataModule, name: str, scored: list[Volume]) -> QueryDomain:
    """A domain of `data.real`. Subjects of the reference data's other parts are left out: something was trained on, or
    chosen with, them. scored: the reference volumes that travelling subjects are looked for in."""
    scans, left_out = app.real_scans(cfg, name), []
    known = {scan.path for found in data.split().values() for scan in found}
    same = next((scan for scan in scans if scan.path in known), None)
    if same is not None:
        cure = f"say in data.real.{name}.source what sets the other scanner apart, its root or its site"
        raise DataError("a scan of the reference data itself", cure=cure, path=same.path, subject=same.subject)
    elsewhere = {s.subject for part, found in data.split().items() if part != cfg.evaluation.part for s in found}
    leaks = [scan.subject for scan in scans if scan.subject in elsewhere]
    if leaks:
        left_out.append(f"{_subjects(leaks)} in another part of the reference data than {cfg.evaluation.part}")
    chosen = [scan for scan in scans if scan.subject not in elsewhere]
    truths: dict[str, Volume] = {}
    if cfg.data.real[name].paired:
        found = {scan.subject for scan in chosen}
        pairs = closest_pairs(scored, chosen)
        truths = {scan.subject: volume for volume, scan in pairs}
        alone = [volume.scan.subject for volume in scored if volume.scan.subject not in found]
        if alone:
            left_out.append(f"{_subjects(alone)} scored on the reference scanner, without a scan here")
        others = [scan.subject for scan in chosen if scan.subject not in truths]
        if others:
            left_out.append(f"{_subjects(others)} here, not scored on the reference scanner")
        chosen = [scan for _, scan in pairs]
    else:
        chosen = of_subjects(chosen, cfg.evaluation.subjects, lambda scan: scan.subject)
    if not chosen:
        raise DataError(
            f"data.real.{name}: none of its {len(scans)} scans can be scored" + "".join(f"; {why}" for why in left_out),
            cure="travelling subjects need the same ids as in the reference data, and other people other ids",
        )
    volumes = load_volumes(chosen, data.cache, f"scans of {name}", skip_bad=data.skip_bad)
    used = {volume.scan.name for volume in volumes}
    left_out += [f"{scan.name} could not be used" for scan in chosen if scan.name not in used]
    off = [v.scan.subject for v in volumes if truths and not on_one_lattice(truths[v.scan.subject], v)]
    if off:
        log.warning(
            "%s: the truth of %s is interpolated, which smooths it: put registered scans onto one voxel grid",
            name,
            _subjects(off),
        )
    cases = [Case(volume, on_grid_of(truths[volume.scan.subject], volume) if truths else None) for volume in volumes]
    return QueryDomain(name, cases, cases, left_out=[f"{name}: {why}" for why in left_out])


def closest_pairs(scored: list[Volume], scans: list[Scan]) -> list[tuple[Volume, Scan]]:
    """For each person with both, the reference volume and the scan that are closest in age; the first where it is not
    known."""

    def apart(pair: tuple[Volume, Scan]) -> float:
        ages = pair[0].scan.age, pair[1].age
        return inf if ages[0] is None or ages[1] is None else abs(ages[0] - ages[1])

    best: dict[str, tuple[Volume, Scan]] = {}
    for pair in ((volume, scan) for volume in scored for scan in scans if scan.subject == volume.scan.subject):
        former = best.get(pair[1].subject)
        if former is None or apart(pair) < apart(former):
            best[pair[1].subject] = pair
    return list(best.values())


def _subjects(names: list[str]) -> str:
    """`3 subjects (sub-1, sub-2, sub-3)`."""
    names = list(dict.fromkeys(names))
    shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    return f"{len(names)} subject{'s' if len(names) > 1 else ''} ({shown})"
