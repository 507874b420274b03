"""The page of evaluated runs: one self-contained HTML file, built from run folders alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harmony.core.files import write_atomic
from harmony.core.margins import MARGINS, of_harm
from harmony.core.vocabulary import describe, direction
from harmony.reports import charts
from harmony.reports.citations import CITED, cite, data_name, methods_text
from harmony.reports.evaluated import Comparison, Entry, EvaluatedRun, Found, Test, compare, find_runs
from harmony.reports.kept import SCALE, data_uri, difference, read_histograms, read_panels, read_traces

COLOURS = 7  # series colours in the style sheet; further series are dashed
EVIDENCE = ("bpd", "log_jacobian", "entropy", "change")  # the columns of an adaptation's trajectory


def report_page(folders: Sequence[Path], output: Path) -> None:
    """Write the page of these run folders, or folders of runs. Raises DataError and ConfigError, see `find_runs`."""
    found = find_runs(folders)
    view = View(compare(found.runs))
    environment = Environment(
        loader=PackageLoader("harmony", "reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    write_atomic(output, environment.get_template("page.html").render(view=view, found=found, **content(view, found)))


def content(view: View, found: Found) -> dict[str, Any]:
    """What the template shows besides the view itself."""
    paragraphs, references = cite(methods_text(view.comparison))
    return {
        "title": view.title(),
        "metrics": [view.metric(name) for name in view.comparison.metrics],
        "domains": [view.domain(name) for name in view.comparison.domains],
        "legend": charts.legend(
            [("truth", "truth"), *((view.name(entry), view.style(entry)) for entry in view.comparison.entries)]
        ),
        "runs": [run_facts(run) for run in view.comparison.runs],
        "failures": view.failures(found),
        "absent": view.absent(),
        "paragraphs": paragraphs,
        "references": references,
        "scale": SCALE,
        "published_source": view.comparison.runs[0].config.get("published", {}).get("source", ""),
    }


@dataclass(frozen=True)
class View:
    """Names, colours and charts of a comparison."""

    comparison: Comparison

    def title(self) -> str:
        names = dict.fromkeys(str(run.config["name"]) for run in self.comparison.runs)
        return f"{', '.join(names)}: harmonization of {data_name(self.comparison.runs[0])}"

    def name(self, entry: Entry) -> str:
        label = self.comparison.groups[entry.group].label
        method = {"none": "not harmonized"}.get(entry.method, entry.method.replace("_", " "))
        return f"{method} ({label})" if label else method

    def style(self, entry: Entry) -> str:
        """`none` is grey; the others get the colours in turn, dashed from the second round on."""
        if entry.method == "none":
            return "query"
        k = [each for each in self.comparison.entries if each.method != "none"].index(entry)
        return f"c{k % COLOURS}" + (f" dash{k // COLOURS}" if k >= COLOURS else "")

    @property
    def counts(self) -> dict[str, int]:
        """What was compared: for the head of the page."""
        queries = [name for name in self.comparison.domains if name != "reference"]
        seeds = {run.seed for run in self.comparison.runs}
        return {
            "test subjects": len(self.comparison.subjects),
            "query scanners": len(queries),
            "methods": len({entry.method for entry in self.comparison.entries}),
            "seeds": len(seeds),
        }

    def metric(self, name: str) -> dict[str, Any]:
        """One metric: its words, table, tests and charts of every domain."""
        words, domains = describe(name), self.comparison.domains
        queries = [cell.interval for (_, domain, metric), cell in self.comparison.cells.items()
                   if metric == name and domain != "reference"]  # fmt: skip
        high = max((charts.end(interval) for interval in queries), default=0.0)
        return {
            "name": name,
            "words": words,
            "meaning": CITED.sub("", words.meaning).replace("  ", " ").strip(),
            "rows": [(domain, self._row(domain, name)) for domain in domains],
            "published": self._published(name),
            "smallest_p": self._smallest_p(name),
            "family": sum(key[2] == name and test.adjusted is not None for key, test in self.comparison.tests.items()),
            "harm": of_harm(name) if name in MARGINS else "",
            "tests": [line for domain in domains for line in self._test_lines(domain, name)],
            "bars": [(domain, self._bars(domain, name, high)) for domain in domains],
            "pairs": [(domain, chart) for domain in domains if (chart := self._pairs(domain, name))],
        }

    def _published(self, metric: str) -> list[tuple[str, str, str]]:
        """(domain, method, mean) of the paper's table that the experiment names."""
        return [
            (domain, method.replace("_", " "), f"{means[metric]:.{describe(metric).digits}f}")
            for domain, methods in self.comparison.runs[0].config.get("published", {}).get("rows", {}).items()
            for method, means in methods.items()
            if metric in means
        ]

    def _row(self, domain: str, metric: str) -> list[dict[str, Any] | None]:
        best, digits = self.comparison.best(domain, metric), describe(metric).digits
        row: list[dict[str, Any] | None] = []
        for entry in self.comparison.entries:
            cell = self.comparison.cells.get((entry, domain, metric))
            test = self.comparison.tests.get((entry, domain, metric))
            if cell is None:
                row.append(None)
                continue
            interval = cell.interval
            seeds = ", ".join(f"{value:.{digits}f}" for value in cell.by_seed)
            row.append(
                {
                    "mean": f"{interval.mean:.{digits}f}",
                    "range": interval.span(digits, between=" – "),
                    "spread": None if cell.spread is None else f"±{cell.spread:.{digits + 1}f}",
                    "hover": f"n={interval.subjects}" + (f"; by seed {seeds}" if cell.spread is not None else ""),
                    "best": entry in best,
                    "sure": self._verdict(test, metric),
                }
            )
        return row

    @staticmethod
    def _verdict(test: Test | None, metric: str) -> str:
        """`better` or `worse` than not harmonized, where the test is sure of it."""
        if test is None or test.adjusted is None or test.adjusted >= 0.05:
            return ""
        return "better" if direction(metric) * test.against.difference.mean > 0 else "worse"

    def _test_lines(self, domain: str, metric: str) -> list[dict[str, Any]]:
        digits, lines = describe(metric).digits + 1, []
        for entry in self.comparison.entries:
            test = self.comparison.tests.get((entry, domain, metric))
            if test is not None:
                change = test.against.difference
                kept = change.subjects - test.against.harmed
                lines.append(
                    {
                        "domain": domain,
                        "method": self.name(entry),
                        "difference": f"{change.mean:+.{digits}f}",
                        "range": change.span(digits, between=" to ", sign="+"),
                        "n": change.subjects,
                        "p": p_value(test.against.p),
                        "adjusted": "–" if test.adjusted is None else p_value(test.adjusted),
                        "sure": test.adjusted is not None and test.adjusted < 0.05,
                        "kept": f"{kept} of {change.subjects} ({1 - test.against.worse:.0%})",
                    }
                )
        return lines

    def _smallest_p(self, metric: str) -> float:
        """What Holm's procedure leaves of the smallest p, 2 / 2^n, that the signed-rank test can give."""
        tests = [test for key, test in self.comparison.tests.items() if key[2] == metric and test.adjusted is not None]
        n = [test.against.difference.subjects for test in tests]
        return min(1.0, len(n) * 2 / 2 ** max(n)) if n else 1.0

    def _bars(self, domain: str, metric: str, high: float) -> Markup:
        found = [(entry, self.comparison.cells.get((entry, domain, metric))) for entry in self.comparison.entries]
        rows = [charts.Bar(self.name(e), self.style(e), cell.interval) for e, cell in found if cell is not None]
        if domain == "reference":  # identical images score the cap: an axis of its own
            high = max((charts.end(row.interval) for row in rows), default=0.0)
        return charts.bars(rows, describe(metric).digits, high=high) if rows else Markup("")

    def _pairs(self, domain: str, metric: str) -> Markup | None:
        words, rows = describe(metric), []
        for entry in self.comparison.entries:
            values = self.comparison.values(entry, domain, metric)
            base = self.comparison.values(Entry("none", entry.group), domain, metric)
            both = {name: (base[name], values[name]) for name in values if name in base}
            if entry.method != "none" and both:
                rows.append(charts.Pair(self.name(entry), self.style(entry), both))
        if words.better is None or not rows:
            return None
        return charts.pairs(rows, words.better == "higher", words.digits)

    def domain(self, name: str) -> dict[str, Any]:
        """One domain: image panels, distributions, trajectories; each empty where nothing was kept."""
        return {
            "name": name,
            "panels": self._panels(name),
            "figures": self._figures(name),
            "likelihood": self._likelihood(name),
            "intensities": self._intensities(name),
            "solvers": self._solvers(name),
            "adaptations": self._adaptations(name),
        }

    def _panels(self, domain: str) -> list[dict[str, Any]]:
        """Per subject the images of the first seed of each group, with their differences to the truth, or, where there
        is none, to the input."""
        subjects: dict[str, dict[str, Any]] = {}
        for k, group in enumerate(self.comparison.groups):
            for subject, images in read_panels(group.runs[0].path, domain).items():
                if "query" not in images:
                    continue
                base = images.get("truth", images["query"])
                panel = subjects.setdefault(subject, {"subject": subject, "seed": group.runs[0].seed, "images": []})
                if not panel["images"]:
                    panel["images"] = [self._image("input", images["query"], base)]
                for entry in self.comparison.entries:
                    if entry.group == k and entry.method != "none" and entry.method in images:
                        shown = self._image(self.name(entry), images[entry.method], base)
                        panel["images"].append(shown | {"score": self._score(entry, domain, subject)})
                panel["images"][0]["score"] = self._score(Entry("none", 0), domain, subject)
                panel["truth"] = data_uri(base.read_bytes())
                panel["base"] = "truth" if "truth" in images else "input"
        return list(subjects.values())

    @staticmethod
    def _image(name: str, image: Path, truth: Path) -> dict[str, Any]:
        return {"name": name, "image": data_uri(image.read_bytes()), "difference": data_uri(difference(image, truth))}

    def _score(self, entry: Entry, domain: str, scan: str) -> str:
        value = self.comparison.of_scan(entry, domain, "psnr", scan)
        return "" if value is None else f"{value:.1f} dB"

    def _figures(self, domain: str) -> list[str]:
        """The pictures of a run without panels, as they were drawn then."""
        run = self.comparison.runs[0].path
        if read_panels(run, domain):
            return []
        return [data_uri(path.read_bytes()) for path in sorted((run / "figures").glob(f"{domain}-*.png"))]

    def _likelihood(self, domain: str) -> Markup | None:
        """Histograms of the subjects' bpd: the untouched reference, the query, each method."""
        rows = []
        untouched = self.comparison.values(Entry("none", 0), "reference", "bpd")
        if untouched and domain != "reference":
            rows.append(charts.Sample("reference scans, untouched", "truth", list(untouched.values())))
        for entry in self.comparison.entries:
            values = list(self.comparison.values(entry, domain, "bpd").values())
            if values:
                rows.append(charts.Sample(self.name(entry), self.style(entry), values))
        return charts.histograms(rows, 2) if rows else None

    def _intensities(self, domain: str) -> Markup | None:
        rows = []
        for k, group in enumerate(self.comparison.groups):
            found = read_histograms(group.runs[0].path, domain)
            named = {"truth": ("truth", "truth"), "query": ("input", "query")} if k == 0 else {}
            named |= {e.method: (self.name(e), self.style(e)) for e in self.comparison.entries if e.group == k}
            for image, counts in found.items():
                if image in named and image != "none" and counts.sum():
                    centres = (np.arange(len(counts)) + 0.5) / len(counts)
                    rows.append(charts.Series(*named[image], centres.tolist(), (counts / counts.mean()).tolist()))
        return charts.lines(rows, x_label="intensity", from_zero=True) if rows else None

    def _solvers(self, domain: str) -> list[tuple[str, Markup]]:
        """(quantity, chart) of the first drawn subject: the mean over its slices at each iteration."""
        found: dict[str, list[charts.Series]] = {}
        for k, group in enumerate(self.comparison.groups):
            for traces in list(read_traces(group.runs[0].path, domain).values())[:1]:
                for method, quantities in traces.items():
                    for quantity, values in quantities.items():
                        y = [float("nan") if value is None else value for value in values]
                        if np.isfinite(y).any() and not (quantity == "fallback" and not any(y)):
                            entry = Entry(method, k)
                            line = charts.Series(self.name(entry), self.style(entry), range(1, len(y) + 1), y)
                            found.setdefault(quantity, []).append(line)
        return [(name.replace("_", " "), charts.lines(rows, x_label="iteration")) for name, rows in found.items()]

    def _adaptations(self, domain: str) -> list[dict[str, Any]]:
        """How each adaptive method went; the pass in use is ringed."""
        shown = []
        for entry in self.comparison.entries:
            run = self.comparison.groups[entry.group].runs[0]
            path = run.path / "adaptation" / f"{entry.method}-{domain}.json"
            if not path.exists():
                continue
            record = json.loads(path.read_text(encoding="utf-8"))
            columns = dict(zip(EVIDENCE, zip(*record["trajectory"], strict=True), strict=True))
            columns |= {"PSNR dB": record["psnr"]} if record.get("psnr") else {}
            curves = [
                (
                    name.replace("_", " "),
                    [charts.Series(self.name(entry), self.style(entry), range(len(y)), y, record["kept"])],
                )
                for name, y in columns.items()
                if np.isfinite(y).any()
            ]
            saw = f"saw {len(record['subjects'])} {record['adapt_on']} subjects"
            words = f"{record['reason']}; outcome: {record['outcome']}; {saw}"
            shown.append(
                {
                    "method": self.name(entry),
                    "words": words,
                    "charts": [(name, charts.lines(rows, x_label="pass")) for name, rows in curves],
                }
            )
        return shown

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


def run_facts(run: EvaluatedRun) -> dict[str, Any]:
    """One run in the table of what was run."""
    seconds = sum(row.value for row in run.rows if row.metric == "seconds")
    env = run.environment
    return {
        "name": f"{run.config['name']}/{run.path.name}",
        "seed": run.seed,
        "seconds": duration(seconds),
        "config": (run.path / "config.yaml").read_text(encoding="utf-8"),
        "hardware": f"{env['gpu'] or env['cpu']}, {env['cores']} cores" if env else "not recorded",
        "versions": ", ".join(f"{k} {v}" for k, v in ({"Python": env["python"]} | env["packages"]).items())
        if env
        else "",
        "models": [
            {
                "stage": stage,
                "name": each["name"],
                "score": f"{each.get('monitor', 'score')} {each['score']:.3f}" if "score" in each else "not recorded",
                "parameters": f"{each['parameters']:,}" if "parameters" in each else "",
                "seconds": duration(each["seconds"]) if "seconds" in each else "",
            }
            for stage, each in run.trained.items()
        ],
    }


def duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
