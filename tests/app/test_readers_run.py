"""The OASIS-3 experiments from end to end: the commands of the documentation on a miniature folder."""

import csv
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from configs import composed
from programs import Program

from harmony import app

sys.path.append(str(Path(__file__).parents[1] / "data"))  # the miniatures live with the readers' tests
import miniatures

DOCS = Path(__file__).parents[2] / "docs" / "data"
COMMANDS = {
    f"{page.stem}-{k}": shlex.split(text.replace("\\\n", " "))[3:]
    for page in sorted(DOCS.glob("*.md"))
    for k, text in enumerate(re.findall(r"^    (python -m harmony\.(?:\\\n|.)*)$", page.read_text(), re.M))
}
# The paper's experiment, made small: grid, flow and training. Everything else is the config's.
SMALL = [
    "logger=csv",
    "evaluation.figure_subjects=0",
    "data.only_plausible=false",  # brains of 66 ml
    "data.preprocess.spacing=2.0",
    "data.preprocess.size=[32,32]",
    "data.count=4",
    "flow.steps=1",
    "flow.hidden_channels=8",
    "tasks.flow.max_steps=3",
    "tasks.flow.val_every=3",
    "tasks.flow.batch_size=8",
]


def run(folder, module, *words, flow="spline"):
    small = [word for word in SMALL if flow == "spline" or not word.startswith("flow.")]
    process = Program(f"harmony.{module}", [*words, *small], cwd=folder.path, env=folder.env, merged=True)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


@pytest.fixture
def oasis(folder):
    return miniatures.oasis_bids(folder.path / "oasis3", subjects=10)


def test_oasis3_is_trained_on_and_harmonized(folder, oasis):
    code, output = run(folder, "train", "experiment=oasis_nsf", f"data.root={oasis}")
    assert code == 0, output
    summary = json.loads((folder.one("runs/models/flow-*") / "summary.json").read_text())
    assert summary["subjects"] == {"train": 7, "val": 1, "test": 2}
    few = ["data.query=[exp,gamma_0.7]", "method.blindharmony.solver.iterations=2"]
    code, output = run(folder, "evaluate", "experiment=oasis_blindharmony", f"data.root={oasis}", *few)
    assert code == 0, output
    results = folder.one("runs/oasis_blindharmony/seed1-*") / "results.csv"
    rows = list(csv.DictReader(results.open()))
    assert {row["domain"] for row in rows} == {"reference", "exp", "gamma_0.7"}
    assert {row["method"] for row in rows} == {"none", "histogram_matching", "blindharmony"}
    assert all(row["subject"].startswith("sub-OAS3") for row in rows)


def test_a_scanner_that_is_not_there_is_one_clear_error(folder, oasis):
    code, output = run(folder, "train", "experiment=oasis_nsf", f"data.root={oasis}", "data.scanner=Prisma")
    assert code == 2
    assert "Traceback" not in output
    assert "data.scanner= one of: Siemens TrioTim" in output


def test_harmonizing_flows_runs_on_abide(folder):
    root = miniatures.abide_site(folder.path / "abide", subjects=8)
    few = ["flow.widths=[4,4]", "tasks.harmonizer.max_steps=2", "tasks.harmonizer.network.widths=[4,4,4]"]
    few += ["tasks.segmenter.max_steps=2", "tasks.segmenter.network.widths=[4,8]", "data.query=[exp]"]
    few += [
        "evaluation.subjects=1",
        "method.harmonizing_flows.stop.passes=2",
        "tasks.harmonizer.batch_size=8",
        "tasks.segmenter.batch_size=8",
    ]
    code, output = run(folder, "train", "experiment=abide_paper", f"data.root={root}", *few, flow="guided")
    assert code == 0, output
    run_folder = folder.one("runs/abide_paper/seed1-*")
    rows = list(csv.DictReader((run_folder / "results.csv").open()))
    assert {row["method"] for row in rows} == {"none", "histogram_matching", "harmonizing_flows"}
    record = json.loads((run_folder / "adaptation" / "harmonizing_flows-exp.json").read_text())
    assert record["adapt_on"] == "test"
    assert "entropy" in record["reason"]
    assert len(record["trajectory"]) == 3
    code, output = run(
        folder, "evaluate", "experiment=abide_paper", f"data.root={root}", *few,
        "evaluation.adapt_on=val", flow="guided",
    )  # fmt: skip
    assert code == 0, output
    found = folder.path.glob("runs/abide_paper/*/adaptation/harmonizing_flows-exp.json")
    assert {json.loads(path.read_text())["adapt_on"] for path in found} == {"test", "val"}


def test_age_is_learned_on_dhcp(folder):
    root = miniatures.dhcp_term(folder.path / "dhcp", subjects=8)
    few = ["tasks.age.max_steps=3", "tasks.age.batch_size=8", "tasks.age.network.widths=[4,4]"]
    code, output = run(folder, "train", "experiment=dhcp_age", f"data.root={root}", *few)
    assert code == 0, output
    summary = json.loads((folder.one("runs/models/age-*") / "summary.json").read_text())
    assert 0 <= summary["score"] < 10  # weeks


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_of_the_pages_compose(name):
    cfg = composed(*COMMANDS[name])
    app.refuse_impossible(cfg)
    app.build(cfg.data.source)
    app.build(cfg.data.preprocess)


def test_every_page_has_a_command_and_is_linked():
    pages = {page.stem for page in DOCS.glob("*.md")} - {"README"}
    assert pages == {name.rpartition("-")[0] for name in COMMANDS}
    assert all(f"({page}.md)" in (DOCS / "README.md").read_text() for page in pages)
