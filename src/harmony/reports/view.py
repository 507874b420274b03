"""Names and colours of a comparison, and what is not in it."""

from __future__ import annotations

from dataclasses import dataclass

from harmony.analysis import BASELINE, Comparison, Entry, Found
from harmony.core import REFERENCE
from harmony.reports.kept import read_histograms, read_panels
from harmony.reports.words import data_name

COLOURS = 7  # series colours in the style sheet; further series are dashed


@dataclass(frozen=True)
class View:
    """How a comparison is called and coloured on the page."""

    comparison: Comparison

    def title(self) -> str:
        names = dict.fromkeys(str(run.config["name"]) for run in self.comparison.runs)
        return f"{', '.join(names)}: harmonization of {data_name(self.comparison.runs[0])}"

    def name(self, entry: Entry) -> str:
        label = self.comparison.groups[entry.group].label
        method = {BASELINE: "not harmonized"}.get(entry.method, entry.method.replace("_", " "))
        return f"{method} ({label})" if label else method

    def style(self, entry: Entry) -> str:
        """`none` is grey; the others get the colours in turn, dashed from the second round on."""
        if entry.method == BASELINE:
            return "query"
        k = [each for each in self.comparison.entries if each.method != BASELINE].index(entry)
        return f"c{k % COLOURS}" + (f" dash{k // COLOURS}" if k >= COLOURS else "")

    @property
    def counts(self) -> dict[str, int]:
        """What was compared: for the head of the page."""
        queries = [name for name in self.comparison.domains if name != REFERENCE]
        seeds = {run.seed for run in self.comparison.runs}
        return {
            "test subjects": len(self.comparison.subjects),
            "query scanners": len(queries),
            "methods": len({entry.method for entry in self.comparison.entries}),
            "seeds": len(seeds),
        }

    def failures(self, found: Found) -> list[str]:
        lines = [f"{name}: {why}" for name, why in found.unfinished.items()]
        for run in self.comparison.runs:
            skipped = run.summary.get("skipped", [])
            lines += [f"{run.path.name}: {name} could not be used and was left out" for name in skipped]
            lines += [f"{run.path.name}: left out, {why}" for why in run.summary.get("left_out", [])]
            if not (run.path / "DONE").exists():
                lines.append(f"{run.path.name}: has results, but was stopped before its end")
        return lines + self.comparison.missing()

    def absent(self) -> list[str]:
        """What these run folders do not hold, for an older or a copied run."""
        lines, domains = [], self.comparison.domains
        for run in self.comparison.runs:
            kept = {
                "image panels": any(read_panels(run.path, domain) for domain in domains),
                "intensity histograms": any(read_histograms(run.path, domain) for domain in domains),
                "environment.json (versions, hardware)": bool(run.environment),
                "summary.json (the models used)": bool(run.summary),
                "validation scores of its models": all("score" in each for each in run.trained.values()),
            }
            lines += [f"{run.path.name}: no {what}" for what, there in kept.items() if not there]
        return lines
