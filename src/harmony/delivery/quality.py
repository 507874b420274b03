"""The page over all results of an output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harmony.core import DataError
from harmony.delivery.output import Output, Result

if TYPE_CHECKING:
    from harmony.reports import QualityEntry

SETTINGS = ("Method", "MethodSettings", "Model", "Reference", "Intensity", "HarmonyVersion")  # of the sidecar


def write_page(output: Output, bad: Sequence[DataError]) -> Path | None:
    """Where it was written; None where the output has no page."""
    if output.page is not None:
        from harmony.reports import quality_page

        quality_page(output.page, [entry(result) for result in output.results()], [error.public for error in bad])
    return output.page


def entry(result: Result) -> QualityEntry:
    """What the page shows of a result."""
    from harmony.reports import QualityEntry  # draws: where there is no page, nobody waits for it

    about = result.about
    bpd, missed = about.get("BitsPerDimension"), about.get("NotHarmonizedVolume")
    facts = [("method", about["Method"]), ("intensities", about["Intensity"])]
    facts += [("not harmonized", f"{missed:g} ml of the brain mask")] if missed else []
    facts += [*about.get("Findings", {}).items()]
    facts += [("bits per dimension", f"{bpd['before']:.3f} → {bpd['after']:.3f}")] if bpd else []
    return QualityEntry(
        result.name,
        about.get("MeanChange"),
        result.figure,
        left_alone=about.get("LeftAlone"),
        facts=[*facts, ("took", f"{about['Seconds']:g} s")],
        settings={name: about[name] for name in SETTINGS},
    )
