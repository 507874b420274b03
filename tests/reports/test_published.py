"""Published rows beside ours: in their place, without a false interval, and never in our own means."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from harmony import app
from harmony.analysis import result_table
from harmony.core import Row
from harmony.reports import print_table
from harmony.reports.tables import cell_text

CONF = Path(app.conf_folder())
PUBLISHED = sorted((CONF / "published").glob("*.yaml"))
TABLE = {"exp": {"b": {"psnr": 20.0}, "theirs": {"psnr": 30.0, "ssim": 0.9}}, "far": {"b": {"psnr": 10.0}}}


def ours():
    rows = [Row(m, d, s, "psnr", v) for m, v in (("a", 1.0), ("b", 2.0)) for d in ("exp", "log") for s in ("s1", "s2")]
    return result_table(rows)


def test_a_published_row_stands_below_ours_of_the_same_method():
    beside = ours().beside(TABLE)
    order = list(dict.fromkeys(key[:2] for key in beside.cells))
    assert order == [
        ("exp", "a"), ("exp", "b"), ("exp", "b (published)"), ("exp", "theirs (published)"),
        ("log", "a"), ("log", "b"), ("far", "b (published)"),
    ]  # fmt: skip
    assert beside.cells["exp", "b (published)", "psnr"].mean == 20
    assert beside.cells["exp", "b", "psnr"].mean == 2
    assert beside.subjects == "2"


def test_our_mean_over_the_query_domains_stands_beside_a_published_one():
    rows = [Row("a", d, "s", "iou_wm", v) for d, v in (("reference", 1.0), ("A", 0.5), ("B", 0.7))]
    table = result_table(rows).beside({"A": {}, "mean": {"a": {"iou_wm": 0.9}}})
    found = {key[:2]: cell.mean for key, cell in table.cells.items() if key[0] == "mean"}
    assert found == pytest.approx({("mean", "a"): 0.6, ("mean", "a (published)"): 0.9})
    assert "mean" not in {key[0] for key in ours().beside(TABLE).cells}


def test_the_judge_gives_the_published_metric_of_the_real_scanners(capsys):
    table = OmegaConf.load(CONF / "published" / "blindharmony_real.yaml").rows
    assert list(table) == ["A", "B", "C", "D", "mean"]
    structures = OmegaConf.load(CONF / "judge" / "segmentation.yaml").structures
    assert {metric for row in table["mean"].values() for metric in row} <= {f"iou_{name}" for name in structures}
    print_table(result_table([Row("a", "A", "s", "iou_wm", 0.5)]).beside(OmegaConf.to_container(table)), title="x")
    assert "0.921" in capsys.readouterr().out


def test_ours_is_left_alone():
    table = ours()
    before = table.flat_means()
    table.beside(TABLE)
    assert table.flat_means() == before


def test_the_printed_published_row_has_no_interval(capsys):
    print_table(ours().beside(TABLE), title="x", caption="published: somebody")
    output = capsys.readouterr().out
    assert "published: somebody" in output
    lines = [[cell.strip() for cell in line.split("│")] for line in output.splitlines() if "│" in line]
    found = {line[2]: line[3:] for line in lines}
    assert found["theirs (published)"][:2] == ["30.0", "0.900"]
    assert "[" not in found["a"][0]  # there is no room for it beside the long names
    cell = ours().beside(TABLE).cells["exp", "theirs (published)", "psnr"]
    assert cell_text(cell, "psnr", interval=True) == "30.0"  # rich would swallow "[nan, nan]" as a style


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_table_has_a_source_and_known_names(path):
    table = OmegaConf.load(path)
    assert table.source
    for methods in table.rows.values():
        for means in methods.values():
            assert set(means) <= {"psnr", "ssim", "iou_wm"}
            assert all(0 < value <= 1 for metric, value in means.items() if metric != "psnr")


def test_blindharmonys_simulated_domains_are_ours():
    table = OmegaConf.load(CONF / "published" / "blindharmony_simulated.yaml")
    assert set(table.rows) <= set(OmegaConf.load(CONF / "data" / "preprocess.yaml").scanners)
    assert dict(table.rows.exp.blindharmony) == {"psnr": 29.6, "ssim": 0.985}
    assert dict(table.rows["gamma_0.7"].unet) == {"psnr": 15.9, "ssim": 0.879}
