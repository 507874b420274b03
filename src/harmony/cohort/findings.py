"""What a study found: is the scanner gone, is the biology still there, and how sure is that?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from harmony.analysis import Agreement, Relation, ResultTable, agreement, relation, result_table
from harmony.analysis.agreement import RATIOS, scanners_of
from harmony.cohort.measures import VOLUMES
from harmony.cohort.telling import AFTER, BEFORE, LEAST, Telling, tell_apart
from harmony.core import Row, Scan
from harmony.judges.probe import Probe

NARROW = 0.8  # balanced accuracy: an interval that reaches beyond it says little, whatever else is in it
NEAR = 0.6  # below it a site is as good as not told apart
TRAITS = ("age", "sex")


@dataclass(frozen=True)
class Travellers:
    """People who were at two sites, and how far the sites agree on a metric before and after."""

    sites: tuple[str, str]
    metric: str
    before: Agreement
    after: Agreement


@dataclass(frozen=True)
class Findings:
    """reference: the site. people: site -> how many. telling: site -> how well it is told from the reference.
    relations: (trait, volume) -> slopes within sites; for sex: men less women. values: of each site and metric."""

    reference: str
    people: Mapping[str, int]
    telling: Mapping[str, Telling]
    relations: Mapping[tuple[str, str], Relation]
    travellers: Sequence[Travellers]
    values: ResultTable


def study_findings(rows: Sequence[Row], scans: Sequence[Scan], reference: str, probe: Probe) -> Findings:
    """rows: of every scan before and after (`telling.BEFORE`, `AFTER`), their domain the site."""
    table = result_table(rows)
    sites = sorted({row.domain for row in rows}, key=lambda name: (name != reference, name))
    people = {site: len({row.subject for row in rows if row.domain == site}) for site in sites}
    return Findings(
        reference,
        people,
        {site: tell_apart(rows, site, reference, probe) for site in sites if site != reference},
        _relations(table, scans, sites),
        _travellers(table, sites),
        table,
    )


def verdict(findings: Findings) -> list[str]:
    """Sentences: of each site whether its scanner is gone; of age and sex whether they are still in the volumes."""
    lines = [scanner_verdict(site, findings) for site in findings.telling]
    return lines + [biology_verdict(trait, findings) for trait in TRAITS]


def scanner_verdict(site: str, findings: Findings) -> str:
    """Whether the site can still be told from the reference."""
    told, reference = findings.telling[site], findings.reference
    few = min(findings.people[site], findings.people[reference])
    if few < LEAST or not told.after.known:
        return f"{site}: cannot be told whether the scanner is gone: {few} people, it takes {LEAST} on either side."
    was, now = (f"{share.mean:.2f} [{share.span(2)}]" for share in (told.before, told.after))
    share = f"balanced accuracy of a classifier {now}, before {was}; 0.5 is a coin"
    if told.after.mean >= NEAR and told.after.low > 0.5:
        better = ", if less well than before" if told.after.mean < told.before.mean else ""
        return f"{site}: STILL told from {reference}{better} ({share})."
    if told.after.high > NARROW:
        return f"{site}: cannot be told whether the scanner is gone: too few people ({share})."
    if told.before.low <= 0.5:
        return f"{site}: not told from {reference}, and was not before ({share})."
    return f"{site}: not told from {reference} any more ({share})."


def biology_verdict(trait: str, findings: Findings) -> str:
    """Whether what was related to age or sex before still is."""
    known = {name: slope for (of, name), slope in findings.relations.items() if of == trait and slope.known}
    if not known:
        return f"{trait}: cannot be told whether it is still in the volumes: no relation is told from 0 before."
    lost = [name for name, slope in known.items() if not slope.kept]
    unit = "ml per year" if trait == "age" else "ml, men less women"
    slopes = "; ".join(f"{_plain(name)} {one.before.mean:+.2f} -> {one.after.mean:+.2f}" for name, one in known.items())
    if lost:
        return f"{trait}: NO LONGER in {', '.join(map(_plain, lost))} ({unit}: {slopes})."
    return f"{trait}: still in the volumes as before ({unit}: {slopes})."


def _plain(volume: str) -> str:
    return volume.removeprefix("volume_").removesuffix("_ml")


def _relations(table: ResultTable, scans: Sequence[Scan], sites: Sequence[str]) -> dict[tuple[str, str], Relation]:
    traits: dict[str, dict[tuple[str, str], float]] = {name: {} for name in TRAITS}
    for scan in scans:
        key = (scan.site or "", scan.subject)
        if scan.age is not None:
            traits["age"].setdefault(key, scan.age)
        if scan.sex is not None:
            traits["sex"].setdefault(key, float(scan.sex == "M"))
    relations = {}
    for trait, known in traits.items():
        for volume in VOLUMES:
            before, after = ({s: table.values.get((s, when, volume), {}) for s in sites} for when in (BEFORE, AFTER))
            who = [key for key in known if key[1] in before[key[0]] and key[1] in after[key[0]]]
            was, now = ([values[site][person] for site, person in who] for values in (before, after))
            relations[trait, volume] = relation([known[key] for key in who], was, now, [site for site, _ in who])
    return relations


def _travellers(table: ResultTable, sites: Sequence[str]) -> list[Travellers]:
    travellers = []
    for metric in (*VOLUMES, *RATIOS):
        before, after = (scanners_of(table.values, when, metric) for when in (BEFORE, AFTER))
        for a, b in combinations(sites, 2):
            if a not in after or b not in after:
                continue
            pair = [agreement({a: values[a], b: values[b]}) for values in (before, after)]
            if pair[0] is not None and pair[1] is not None:
                travellers.append(Travellers((a, b), metric, pair[0], pair[1]))
    return travellers
