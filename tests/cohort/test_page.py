"""The page of a study: warnings before the verdict, every table, nothing of a name taken for HTML."""

import numpy as np
from test_findings import made_up

from harmony.cohort.page import page_of
from harmony.reports.study import StudyScan, study_page

HISTOGRAMS = {when: {site: np.ones(48) / 48 for site in "AB"} for when in ("before", "after")}


def test_what_may_mislead_comes_before_the_verdict_and_all_tables_are_there(tmp_path):
    scans = [StudyScan("sub-<b>", "B", "contrast 0.5, the others 0.7", tmp_path / "none.png")]
    page = page_of(made_up(same=True), HISTOGRAMS, scans, ["age follows the site"], ["sub-9: truncated"])
    study_page(tmp_path / "study.html", page)
    text = (tmp_path / "study.html").read_text()
    first = ["age follows the site", "Verdict", "B: not told from A any more", "sub-9: truncated"]
    tables = ["Told from A", "Contrast", "Volumes", "Age and sex", "People at two sites"]
    places = [text.index(words) for words in (*first, *tables, "Histograms", "Look at these first")]
    assert places == sorted(places)
    assert "sub-&lt;b&gt;" in text
    assert "sub-<b>" not in text


def test_tables_say_what_was_measured():
    tables = {table.title: table for table in page_of(made_up(), HISTOGRAMS, [], [], []).tables}
    assert "People at two sites" not in tables
    contrast = {row[0]: row for row in tables["Contrast"].rows}
    assert float(contrast["B"][2].split(" ")[0]) - float(contrast["A"][2].split(" ")[0]) > 0.15
    assert abs(float(contrast["B"][3].split(" ")[0]) - float(contrast["A"][3].split(" ")[0])) < 0.02
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)
