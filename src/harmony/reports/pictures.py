"""What the page shows of one domain: image panels, distributions, and how solvers and adaptations went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from harmony.analysis import Entry
from harmony.core.digests import read_sealed
from harmony.reports import charts
from harmony.reports.kept import data_uri, difference, read_histograms, read_panels, read_traces
from harmony.reports.view import View

EVIDENCE = ("bpd", "log_jacobian", "entropy", "change")  # the columns of an adaptation's trajectory


def domain_section(view: View, name: str) -> dict[str, Any]:
    """One domain: image panels, distributions, trajectories; each empty where nothing was kept."""
    return {
        "name": name,
        "panels": _panels(view, name),
        "figures": _figures(view, name),
        "likelihood": _likelihood(view, name),
        "intensities": _intensities(view, name),
        "solvers": _solvers(view, name),
        "adaptations": _adaptations(view, name),
    }


def _panels(view: View, domain: str) -> list[dict[str, Any]]:
    """Per subject the images of the first seed of each group, with their differences to the truth, or, where there
    is none, to the input."""
    subjects: dict[str, dict[str, Any]] = {}
    for k, group in enumerate(view.comparison.groups):
        for subject, images in read_panels(group.runs[0].path, domain).items():
            if "query" not in images:
                continue
            base = images.get("truth", images["query"])
            panel = subjects.setdefault(subject, {"subject": subject, "seed": group.runs[0].seed, "images": []})
            if not panel["images"]:
                panel["images"] = [_image("input", images["query"], base)]
            for entry in view.comparison.entries:
                if entry.group == k and entry.method != "none" and entry.method in images:
                    shown = _image(view.name(entry), images[entry.method], base)
                    panel["images"].append(shown | {"score": _score(view, entry, domain, subject)})
            panel["images"][0]["score"] = _score(view, Entry("none", 0), domain, subject)
            panel["truth"] = data_uri(base.read_bytes())
            panel["base"] = "truth" if "truth" in images else "input"
    return list(subjects.values())


def _image(name: str, image: Path, truth: Path) -> dict[str, Any]:
    return {"name": name, "image": data_uri(image.read_bytes()), "difference": data_uri(difference(image, truth))}


def _score(view: View, entry: Entry, domain: str, scan: str) -> str:
    value = view.comparison.of_scan(entry, domain, "psnr", scan)
    return "" if value is None else f"{value:.1f} dB"


def _figures(view: View, domain: str) -> list[str]:
    """The pictures of a run without panels, as they were drawn then."""
    run = view.comparison.runs[0].path
    if read_panels(run, domain):
        return []
    return [data_uri(path.read_bytes()) for path in sorted((run / "figures").glob(f"{domain}-*.png"))]


def _likelihood(view: View, domain: str) -> Markup | None:
    """Histograms of the subjects' bpd: the untouched reference, the query, each method."""
    rows = []
    untouched = view.comparison.values(Entry("none", 0), "reference", "bpd")
    if untouched and domain != "reference":
        rows.append(charts.Sample("reference scans, untouched", "truth", list(untouched.values())))
    for entry in view.comparison.entries:
        values = list(view.comparison.values(entry, domain, "bpd").values())
        if values:
            rows.append(charts.Sample(view.name(entry), view.style(entry), values))
    return charts.histograms(rows, 2) if rows else None


def _intensities(view: View, domain: str) -> Markup | None:
    rows = []
    for k, group in enumerate(view.comparison.groups):
        found = read_histograms(group.runs[0].path, domain)
        named = {"truth": ("truth", "truth"), "query": ("input", "query")} if k == 0 else {}
        named |= {e.method: (view.name(e), view.style(e)) for e in view.comparison.entries if e.group == k}
        for image, counts in found.items():
            if image in named and image != "none" and counts.sum():
                centres = (np.arange(len(counts)) + 0.5) / len(counts)
                rows.append(charts.Series(*named[image], centres.tolist(), (counts / counts.mean()).tolist()))
    return charts.lines(rows, x_label="intensity", from_zero=True) if rows else None


def _solvers(view: View, domain: str) -> list[tuple[str, Markup]]:
    """(quantity, chart) of the first drawn subject: the mean over its slices at each iteration."""
    found: dict[str, list[charts.Series]] = {}
    for k, group in enumerate(view.comparison.groups):
        for traces in list(read_traces(group.runs[0].path, domain).values())[:1]:
            for method, quantities in traces.items():
                for quantity, values in quantities.items():
                    y = [float("nan") if value is None else value for value in values]
                    if np.isfinite(y).any() and not (quantity == "fallback" and not any(y)):
                        entry = Entry(method, k)
                        line = charts.Series(view.name(entry), view.style(entry), range(1, len(y) + 1), y)
                        found.setdefault(quantity, []).append(line)
    return [(name.replace("_", " "), charts.lines(rows, x_label="iteration")) for name, rows in found.items()]


def _adaptations(view: View, domain: str) -> list[dict[str, Any]]:
    """How each adaptive method went; the pass in use is ringed."""
    shown = []
    for entry in view.comparison.entries:
        run = view.comparison.groups[entry.group].runs[0]
        path = run.path / "adaptation" / f"{entry.method}-{domain}.json"
        if not path.exists():
            continue
        record = read_sealed(path, ("trajectory", "kept", "reason", "outcome", "adapt_on", "subjects"))
        columns = dict(zip(EVIDENCE, zip(*record["trajectory"], strict=True), strict=True))
        columns |= {"PSNR dB": record["psnr"]} if record.get("psnr") else {}
        curves = [
            (
                name.replace("_", " "),
                [charts.Series(view.name(entry), view.style(entry), range(len(y)), y, record["kept"])],
            )
            for name, y in columns.items()
            if np.isfinite(y).any()
        ]
        saw = f"saw {len(record['subjects'])} {record['adapt_on']} subjects"
        words = f"{record['reason']}; outcome: {record['outcome']}; {saw}"
        shown.append(
            {
                "method": view.name(entry),
                "words": words,
                "charts": [(name, charts.lines(rows, x_label="pass")) for name, rows in curves],
            }
        )
    return shown
