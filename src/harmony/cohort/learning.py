"""A reference scanner from some of its scans: statistics through a trained tissue network. Nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmony.cohort.measures import measure
from harmony.cohort.outliers import Outlier, outliers
from harmony.core import ConfigError, DataError, Scan, Volume, interrupts
from harmony.core.progress import watched
from harmony.core.reference import Reference
from harmony.data.volumes.cache import VolumeCache
from harmony.scanner import Calibration, MapNetwork, Prior, network_labels

LEAST, ADVISED = 8, 20  # scans
MIXED = 0.2  # share of the scans that may be unlike the others; where more are, it is not clear who the others are
ADULT = 12.0  # years: the tissue network knows adults, and a child's white matter is another
CHOOSE = "choose the scans: participants=[...]"


@dataclass(frozen=True)
class Gathered:
    """The scans of one scanner: volumes of those that are alike, and which were left out and why."""

    volumes: list[Volume]
    left_out: list[Outlier]


@dataclass(frozen=True)
class LearnedScanner:
    """What is known of a reference scanner: all that histogram matching, Nyul and scanner inversion need."""

    prior: Prior
    reference: Reference


@dataclass(frozen=True, kw_only=True)
class Learner:
    """Learns a scanner. positions, quantiles: of the reference statistics. known: of the scanner that the network was
    trained on; its tissues and its scanners' variance are the network's, and how people differ is much alike."""

    network: MapNetwork
    calibration: Calibration
    known: Prior
    positions: int
    quantiles: int

    def learn(self, volumes: Sequence[Volume]) -> LearnedScanner:
        """By the network's own maps in place of labels."""
        reference = Reference.of(volumes, positions=self.positions, quantiles=self.quantiles)
        prior = self.calibration.learn(
            volumes,
            [],
            network=self.network,
            labelling=network_labels(self.network),
            reference=reference,
            tissues=self.known.tissues,
            scanners=self.known.scanners,
            known=self.known,
        )
        return LearnedScanner(prior, reference)


def gather(scans: Sequence[Scan], cache: VolumeCache, network: MapNetwork) -> Gathered:
    """Read the scans, each held against the others. What was read is kept in the cache: a second call goes on there.

    Raises ConfigError for too few scans, children, and where it is not clear which scans are alike; DataError for a
    scan that cannot be read or used.
    """
    refuse_children(scans)
    enough(len(scans), "scans")
    volumes, measures = {}, {}
    for scan in watched(scans, "reading"):
        interrupts.check()
        volumes[scan.name] = cache.get(scan)
        measures[scan.name] = measure(volumes[scan.name], network).values
    refuse_other_contrasts(scans, measures)
    odd = outliers(measures)
    if len(odd) > MIXED * len(scans):
        listed = "; ".join(f"{scan.name}: {scan.reason}" for scan in odd[:3])
        raise ConfigError(
            f"{len(odd)} of {len(scans)} scans are unlike the others ({listed}) -> one scanner each; {CHOOSE}"
        )
    names = {scan.name for scan in odd}
    alike = [volume for name, volume in volumes.items() if name not in names]
    enough(len(alike), "scans that are alike")
    return Gathered(alike, odd)


def enough(count: int, what: str) -> None:
    """Raises ConfigError below `LEAST`."""
    if count < LEAST:
        raise ConfigError(
            f"{count} {what}: a reference takes {LEAST}, better {ADVISED} -> give more scans of this scanner"
        )


def refuse_children(scans: Sequence[Scan]) -> None:
    """Raises ConfigError where ages are known and some are below `ADULT`."""
    young = [scan for scan in scans if scan.age is not None and scan.age < ADULT]
    if young:
        listed = ", ".join(f"{scan.name} ({scan.age:g})" for scan in young[:3])
        more = f" and {len(young) - 3} more" if len(young) > 3 else ""
        raise ConfigError(f"children below {ADULT:g} years among the scans: {listed}{more} -> leave them out; {CHOOSE}")


def refuse_other_contrasts(scans: Sequence[Scan], measures: Mapping[str, Mapping[str, float]]) -> None:
    """Raises DataError for a scan in which fluid is as bright as white matter: not T1w, whatever its name says."""
    for scan in scans:
        if measures[scan.name]["contrast_csf_wm"] >= 1:
            cure = f"a reference is of one contrast; {CHOOSE}"
            raise DataError(
                "fluid is brighter than white matter: not T1w", cure=cure, path=scan.path, subject=scan.subject
            )
