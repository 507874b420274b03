"""The tables of README and records are those of their rows; an altered number is seen."""

import re
from pathlib import Path

import pytest

from harmony.core import DataError, Row, write_rows
from harmony.report import families
from harmony.reports.records import REGION, refreshed

ROOT = Path(__file__).parents[2]
RECORDS = sorted((ROOT / "experiments").glob("*/README.md"))
PAGES = [ROOT / "docs" / "methods.md", ROOT / "docs" / "results.md"]
WITH_ROWS = [path for path in RECORDS if list(path.parent.glob("results.csv*"))]


@pytest.mark.parametrize("path", [*PAGES, *WITH_ROWS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_tables_agree_with_the_rows(path):
    text = path.read_text()
    assert REGION.search(text)
    assert refreshed(text, path, families) == text, "make records"


def test_an_altered_number_is_seen():
    path = ROOT / "experiments" / "ixi_judges" / "README.md"
    text = path.read_text()
    altered = text.replace("| Dice | 0.916 |", "| Dice | 0.917 |")
    assert altered != text
    assert refreshed(altered, path, families) == text


@pytest.mark.parametrize("path", WITH_ROWS, ids=lambda path: path.parent.name)
def test_no_number_of_a_table_is_written_by_hand(path):
    """But for the stopping rules, which are read off adaptations (rules.py)."""
    rest = REGION.sub("", path.read_text()).split("Stopping rules, read off")[0]
    assert not re.findall(r"^\|.*\d.*\|$", rest, flags=re.M)


@pytest.fixture
def record(tmp_path):
    values = {("none", "exp"): (20.0, 22.0), ("hm", "exp"): (30.0, 31.0), ("none", "reference"): (40.0, 40.0)}
    dice = {("none", "exp"): (0.5, 0.7), ("hm", "exp"): (0.8, 0.8), ("none", "reference"): (0.9, 0.9)}
    rows = [
        Row(method, domain, f"s{k}", metric, value)
        for metric, found in (("psnr", values), ("dice", dice), ("volume_gm_ml", values))
        for (method, domain), each in found.items()
        for k, value in enumerate(each)
    ]
    write_rows(tmp_path / "results.csv", rows)
    (tmp_path / "paper.yaml").write_text("rows: {exp: {hm: {psnr: 7.22}, unet: {psnr: 65.6}}}")
    return tmp_path / "README.md"


def table(record, spec):
    text = refreshed(f"a\n<!-- table: {spec} -->\nold 1\n<!-- end -->\nb\n", record, families)
    assert refreshed(text, record, families) == text
    assert text.startswith("a\n")
    assert text.endswith("<!-- end -->\nb\n")
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]


def test_a_table_by_hand(record):
    found = table(record, "{rows: [method], columns: domain, show: [psnr, dice], bold: true}")
    assert found == [
        ["method", "exp", "reference"],
        ["---"] * 3,
        ["none", "21.0 / 0.600", "40.0 / 0.900"],
        ["hm", "**30.5** / **0.800**", "-"],
    ]


def test_what_else_can_be_shown(record):
    show = "[psnr interval, psnr each, dice recovered, volume_gm_ml off]"
    found = table(record, f"{{rows: [domain, method], columns: show, domains: [exp], show: {show}}}")
    assert found[0] == [
        "domain",
        "method",
        "PSNR dB [95 %]",
        "PSNR dB, each subject",
        "Dice back, %",
        "volume gm ml, off by",
    ]
    assert found[2] == ["exp", "none", "21.0 [too few]", "20.0, 22.0", "-", "19.0"]
    assert found[3] == ["", "hm", "30.5 [too few]", "30.0, 31.0", "67", "9.5"]


def test_the_harmed_are_counted_where_the_loss_is_more_than_the_margin(record):
    values = {"none": (20.0, 22.0, 30.0), "n4": (19.4, 21.6, 29.0)}
    rows = [Row(method, "exp", f"s{k}", "psnr", value) for method in values for k, value in enumerate(values[method])]
    write_rows(record.with_name("results.csv"), rows)
    found = table(record, "{rows: [method], columns: show, show: [psnr, psnr harmed]}")
    assert found == [["method", "PSNR dB", "PSNR dB, harmed"], ["---"] * 3, ["none", "24.0", "-"], ["n4", "23.3", "2"]]


def test_how_far_the_listed_scanners_agree(record):
    values = {"none": ((90.0, 100.0, 110.0), (100.0, 110.0, 120.0)), "hm": ((90.0, 100.0, 110.0),) * 2}
    rows = [
        Row(method, domain, f"s{k}", "volume_gm_ml", value)
        for method, scanners in values.items()
        for domain, own in zip(("reference", "exp"), scanners, strict=True)
        for k, value in enumerate(own)
    ]
    write_rows(record.with_name("results.csv"), [*rows, Row("none", "log", "s0", "volume_gm_ml", 1.0)])
    show = "[volume_gm_ml icc, volume_gm_ml between, volume_gm_ml apart]"
    found = table(record, f"{{rows: [method], columns: show, domains: [reference, exp], show: {show}}}")
    assert found[0][1:] == [f"volume gm ml, {how}" for how in ("ICC(2,1) [95 %]", "of the scanner %", "apart %")]
    assert found[2][1].startswith("0.667 [")
    assert [line[2] for line in found[2:]] == ["33", "0"]
    assert found[3] == ["hm", "1.000 [1.000, 1.000]", "0", "0.00"]


def test_the_mean_leaves_the_reference_out_and_a_papers_row_stands_below_ours(record):
    spec = "{rows: [method], columns: domain, show: [psnr], domains: [exp, reference, mean], published: paper.yaml}"
    found = {line[0]: line[1:] for line in table(record, spec)}
    assert found["none"] == ["21.0", "40.0", "21.0"]
    assert list(found)[-3:] == ["hm", "*hm, published*", "*unet, published*"]
    assert found["*hm, published*"] == ["*7.22*", "", ""]


def test_a_papers_number_takes_no_bold_from_ours(record):
    spec = "{rows: [method], columns: domain, show: [psnr], domains: [exp], bold: true, published: paper.yaml}"
    found = {row[0]: row[1] for row in table(record, spec)[2:]}
    assert found["hm"] == "**30.5**"
    assert found["*unet, published*"] == "*65.6*"


def test_a_family_is_told_without_its_numbers(record):
    found = dict(table(record, "{words: method}")[2:])
    assert found["`ssimh`"].startswith("the amplitudes of the spectrum below 1.2 cycles per image")
    assert found["`n4_histogram_matching`"].startswith("in turn: N4 bias field correction, then a quantile map")
    assert found["`blindharmony`"].endswith("by the published alternating solver")


@pytest.mark.parametrize(
    "spec", ["{rows: [method]}", "{rows: [x], columns: domain, show: [psnr]}", "{words: x}", "{rows: [}"]
)
def test_a_table_that_cannot_be_made_is_one_clear_error(record, spec):
    with pytest.raises(DataError, match=r"README\.md"):
        table(record, spec)


def test_draws_of_a_scanner_are_pooled_and_whom_it_harmed_is_counted(tmp_path):
    """Of 4 draws the second method loses 1 dB in one, and gains 1, 2 and 6 in the others."""
    values = {"none": (20.0, 21.0, 22.0, 23.0), "hm": (21.0, 20.0, 24.0, 29.0)}
    rows = [
        Row(method, f"drawn_{k // 2}", f"s{k % 2}", "psnr", value)
        for method, found in values.items()
        for k, value in enumerate(found)
    ]
    write_rows(tmp_path / "results.csv", rows)
    spec = "{rows: [method], columns: show, show: [psnr subjects, psnr gain, psnr harmed, psnr], pool: [drawn]}"
    found = table(tmp_path / "README.md", spec)
    assert found[0] == ["method", "PSNR dB, scored", "PSNR dB gain, median", "PSNR dB, harmed", "PSNR dB"]
    assert found[2:] == [["none", "4", "-", "-", "21.5"], ["hm", "4", "1.5", "1", "23.5"]]
