"""The papers' tables of several scanners, on the stand-ins, from the command of the recipe to the table."""

import csv
import json

from programs import Program

SMALL = [
    "logger=csv",
    "evaluation.figure_subjects=0",
    "data.source.resolution=4",
    "data.preprocess.spacing=4.0",
    "data.preprocess.size=[40,48]",
    "data.count=3",
    "data.subjects=8",
    "evaluation.subjects=1",
    "methods=[none]",
    "tasks.flow.max_steps=2",
    "tasks.flow.val_every=2",
    "tasks.flow.batch_size=4",
    "tasks.segmenter.max_steps=2",
    "tasks.segmenter.val_every=2",
    "tasks.segmenter.batch_size=4",
    "tasks.segmenter.network.widths=[4,8]",
]


def run(folder, *words):
    process = Program("harmony.train", [*words, *SMALL], cwd=folder.path, env=folder.env, merged=True)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def domains(path):
    return {row["domain"] for row in csv.DictReader((path / "results.csv").open())}


def test_travelling_subjects_are_scored_beside_the_published_rows(folder):
    words = ["experiment=blindharmony_real", "flow.steps=1", "flow.hidden_channels=8", "data.query=[A,D]"]
    code, output = run(folder, *words)
    assert code == 0, output
    assert "simulated travelling subjects from the MNI152 atlas" in output
    found = folder.one("runs/blindharmony_real/seed1-*")
    assert domains(found) == {"reference", "A", "D"}
    rows = list(csv.DictReader((found / "results.csv").open()))
    assert {"psnr", "ssim", "iou_wm"} <= {row["metric"] for row in rows if row["domain"] == "A"}
    table = [[cell.strip() for cell in line.split("│")] for line in output.splitlines() if "│" in line]
    mean = next(k for k, cells in enumerate(table) if cells[1] == "mean")
    assert "0.921" in next(cells for cells in table[mean:] if cells[2] == "blindharmony (published)")


def test_every_site_is_the_reference_once_and_the_others_its_query_scanners(folder):
    words = ["-m", "experiment=harmonizing_flows_abide", "data.sites=[A],[C]", "stages=[flow,segmenter,evaluate]"]
    words += ["flow.widths=[4,4]", "flow.couplings=1"]
    code, output = run(folder, *words)
    assert code == 0, output
    jobs = [json.loads(path.read_text()) for path in folder.path.glob("runs/sweeps/*/jobs/*.json")]
    asked = {word for job in jobs for word in job["overrides"] if word.startswith("data.sites=")}
    assert asked == {"data.sites=[A]", "data.sites=[C]"}
    found = sorted(map(sorted, map(domains, folder.path.glob("runs/harmonizing_flows_abide/seed1-*"))))
    assert found == [["A", "B", "D", "reference"], ["B", "C", "D", "reference"]]
    assert {"reference=[A]", "reference=[C]"} <= set(output.replace("│", " ").split())
