"""The page of evaluated runs: one self-contained HTML file, built from run folders alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harmony.analysis import EvaluatedRun, Found, compare, find_runs
from harmony.core.files import write_atomic
from harmony.reports import charts
from harmony.reports.citations import cite
from harmony.reports.kept import SCALE
from harmony.reports.pictures import domain_section
from harmony.reports.scores import groups, metric_section
from harmony.reports.view import View
from harmony.reports.words import methods_text


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
        "groups": groups([metric_section(view, name) for name in view.comparison.metrics]),
        "domains": [domain_section(view, name) for name in view.comparison.domains],
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
