"""A finished scan on the quality page."""

from __future__ import annotations

from harmony.delivery.derivatives import Result
from harmony.reports import QualityEntry

SETTINGS = ("Method", "MethodSettings", "Model", "Reference", "Intensity", "HarmonyVersion")  # of the sidecar


def entry(result: Result) -> QualityEntry:
    """What the page shows of a result."""
    about = result.about
    bpd = about["BitsPerDimension"]
    return QualityEntry(
        result.name,
        bpd["before"],
        bpd["after"],
        result.figure,
        left_alone=about.get("LeftAlone"),
        facts=[("method", about["Method"]), *about.get("Findings", {}).items(), ("took", f"{about['Seconds']:g} s")],
        settings={name: about[name] for name in SETTINGS},
    )
