"""The page over all results of an output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony.core import DataError
from harmony.core.unlike import UNLIKE
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
    bpd, missed = about.get("BitsPerDimension"), missed_share(about)
    facts = [("method", about["Method"]), ("intensities", about["Intensity"])]
    facts += [] if missed is None else [("harmonized", in_mask(about["HarmonizedVolume"], missed))]
    facts += [("brain mask", mask_words(about))]
    facts += [("unlike known brains", unlike_words(about["Warnings"]))] if "Warnings" in about else []
    facts += [*about.get("Findings", {}).items()]
    facts += [("bits per dimension", f"{bpd['before']:.3f} → {bpd['after']:.3f}")] if bpd else []
    return QualityEntry(
        result.name,
        about.get("MeanChange"),
        result.figure,
        left_alone=about.get("LeftAlone"),
        warnings=about.get("Warnings", ()),
        missed=missed or 0.0,
        remarks=about.get("Remarks", ()),
        facts=[*facts, ("took", f"{about['Seconds']:g} s")],
        settings={name: about[name] for name in SETTINGS},
    )


def missed_share(about: Mapping[str, Any]) -> float | None:
    """Of the brain mask, what was not harmonized; None in the sidecar of a version that did not measure it."""
    if "HarmonizedVolume" not in about:
        return None
    harmonized, missed = about["HarmonizedVolume"], about["NotHarmonizedVolume"]
    return float(missed / (harmonized + missed))


def in_mask(harmonized: float, missed: float) -> str:
    """Rounded down, so that 100 % is all of it."""
    return f"{harmonized:.0f} ml, {int(1000 * (1 - missed)) / 10:g} % of the brain mask"


def unlike_words(warnings: Sequence[str]) -> str:
    """Of the check before any method (`core.unlike`)."""
    if any(line.startswith(UNLIKE) for line in warnings):
        return "yes, see above"
    return "cannot be told, see above" if warnings else "no"


def mask_words(about: Mapping[str, Any]) -> str:
    """Where the mask is from that is outlined."""
    if found := about.get("BrainExtraction"):
        return f"found by {found['Tool']} {found['Version']}"
    return f"given, {about['BrainMask']}" if about.get("BrainMask") else "what is not background"
