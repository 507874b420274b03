"""The query domains of an evaluation: simulated scanners and real ones, as cases with what is known of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from harmony.core import REFERENCE, DataError, Scan, Volume, of_subjects
from harmony.data import QueryScanner, SliceDataModule, load_volumes, on_grid_of, on_one_lattice
from harmony.evaluation.cases import Case, EvaluationSettings, PartStacks, first_people
from harmony.judges import Examples

log = logging.getLogger(__name__)
NAMED = 5  # subjects that a message names before "..."


@dataclass(frozen=True)
class RealScanner:
    """A query domain of `data.real`. paired: its people were scanned on the reference scanner too."""

    name: str
    scans: list[Scan]
    paired: bool


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


def query_domains(
    data: SliceDataModule, scanners: Sequence[QueryScanner | RealScanner], settings: EvaluationSettings
) -> list[QueryDomain]:
    """The untouched reference where it is included, then the scanners'.

    Raises DataError for a real domain without a scan that may be scored.
    """
    scored, adapt_on = (
        first_people(data.volumes(part), settings.subjects) for part in (settings.part, settings.adapt_on)
    )

    def simulated(name: str, scanner: QueryScanner | None) -> QueryDomain:
        cases, others = ([Case(volume, volume, scanner) for volume in volumes] for volumes in (scored, adapt_on))
        return QueryDomain(name, cases, others, scanner)

    reference = [simulated(REFERENCE, None)] if settings.include_reference else []
    return reference + [
        real_domain(data, scanner, settings, scored)
        if isinstance(scanner, RealScanner)
        else simulated(scanner.name, scanner)
        for scanner in scanners
    ]


def examples(
    data: SliceDataModule, domains: Sequence[QueryDomain], settings: EvaluationSettings
) -> Mapping[str, Examples]:
    """What judges may learn from: the reference scanner's untouched scans, and those of each simulated scanner."""
    scanners = {REFERENCE: None} | {each.name: each.scanner for each in domains if each.scanner is not None}
    return {
        name: Examples(
            training=PartStacks(data, "train", None, scanner),
            scored=PartStacks(data, settings.part, settings.subjects, scanner),
        )
        for name, scanner in scanners.items()
    }


def real_domain(
    data: SliceDataModule, real: RealScanner, settings: EvaluationSettings, scored: list[Volume]
) -> QueryDomain:
    """Subjects of the reference data's other parts are left out: something was trained on, or chosen with, them.
    scored: the reference volumes that travelling subjects are looked for in."""
    chosen, left_out = not_of_other_parts(data, real, settings.part)
    truths: dict[str, Volume] = {}
    if real.paired:
        pairs = closest_pairs(scored, chosen)
        truths = {scan.subject: volume for volume, scan in pairs}
        left_out += without_a_pair(scored, chosen, truths)
        chosen = [scan for _, scan in pairs]
    else:
        chosen = of_subjects(chosen, settings.subjects, lambda scan: scan.subject)
    if not chosen:
        problem = f"data.real.{real.name}: none of its {len(real.scans)} scans can be scored"
        raise DataError(
            problem + "".join(f"; {why}" for why in left_out),
            cure="travelling subjects need the same ids as in the reference data, and other people other ids",
        )
    volumes = load_volumes(chosen, data.cache, f"scans of {real.name}", skip_bad=data.skip_bad)
    used = {volume.scan.name for volume in volumes}
    left_out += [f"{scan.name} could not be used" for scan in chosen if scan.name not in used]
    off = [v.scan.subject for v in volumes if truths and not on_one_lattice(truths[v.scan.subject], v)]
    if off:
        smoothed = "the truth of %s is interpolated, which smooths it: put registered scans onto one voxel grid"
        log.warning(f"%s: {smoothed}", real.name, named(off))
    cases = [Case(volume, on_grid_of(truths[volume.scan.subject], volume) if truths else None) for volume in volumes]
    return QueryDomain(real.name, cases, cases, left_out=[f"{real.name}: {why}" for why in left_out])


def not_of_other_parts(data: SliceDataModule, real: RealScanner, part: str) -> tuple[list[Scan], list[str]]:
    """The scans that may be scored, and who may not. Raises DataError for a scan of the reference data itself."""
    parts = data.split()
    known = {scan.path for found in parts.values() for scan in found}
    same = next((scan for scan in real.scans if scan.path in known), None)
    if same is not None:
        cure = f"say in data.real.{real.name}.source what sets the other scanner apart, its root or its site"
        raise DataError("a scan of the reference data itself", cure=cure, path=same.path, subject=same.subject)
    elsewhere = {scan.subject for other, found in parts.items() if other != part for scan in found}
    leaks = [scan.subject for scan in real.scans if scan.subject in elsewhere]
    why = [f"{named(leaks)} in another part of the reference data than {part}"] if leaks else []
    return [scan for scan in real.scans if scan.subject not in elsewhere], why


def without_a_pair(scored: list[Volume], scans: list[Scan], truths: Mapping[str, Volume]) -> list[str]:
    """Who was scanned on one of the two scanners only."""
    found = {scan.subject for scan in scans}
    alone = [volume.scan.subject for volume in scored if volume.scan.subject not in found]
    others = [scan.subject for scan in scans if scan.subject not in truths]
    why = [f"{named(alone)} scored on the reference scanner, without a scan here"] if alone else []
    return why + ([f"{named(others)} here, not scored on the reference scanner"] if others else [])


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


def named(subjects: list[str]) -> str:
    """`3 subjects (sub-1, sub-2, sub-3)`."""
    names = list(dict.fromkeys(subjects))
    shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    return f"{len(names)} subject{'s' if len(names) > 1 else ''} ({shown})"
