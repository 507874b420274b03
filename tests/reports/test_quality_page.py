"""The quality page: worst first, in words, and still a page where there are many scans."""

import re

from folders import quality_folder

from harmony.reports import quality
from harmony.scanner.report import INVERTED, MATCHED, NOTHING, OUTSIDE, in_words, left_alone


def test_what_wants_looking_at_comes_first_and_is_counted(tmp_path):
    page = quality_folder(tmp_path).read_text()
    assert re.findall(r'<h3 id="(\w+)"', page) == ["alone_T1w", "much_T1w", "little_T1w"]
    words = re.search(r"<p>(This folder.*?)</p>", page)[1]
    assert words == (
        "This folder holds 3 results. 1 scan left alone, as nothing was needed. 1 scan could not be harmonized."
    )
    assert "ikely" not in page  # bits per dimension are no alarm: 47 of 50 good results set it off
    assert re.search(r"much_T1w</a></td><td></td><td class=.number.>12.0 %", page)
    assert "broken &lt;b&gt;" in page
    assert "of 3 scans: xxxxxxxxx, model ixi-hh" in page
    assert "&#34;matching&#34;: 0.3" in page or '"matching": 0.3' in page
    assert "http" not in page


def test_of_many_scans_the_last_pictures_are_read_from_beside(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "INSIDE", 2)
    page = quality_folder(tmp_path).read_text()
    assert page.count("data:image/png;base64,") == 2
    assert 'src="figures/little_T1w.png" loading="lazy"' in page


def test_a_scanner_in_words():
    report = {
        **{"decision": INVERTED, "gain_csf": 0.96, "gain_grey": 1.08, "gain_white": 0.89, "shading": 0.18},
        **{"doubt_csf": 0.02, "doubt_grey": 0.03, "doubt_white": 0.01, "noise": 0.035, "shrunk": 0.25},
        **{"blur_slices": 1.7, "blur_rows": 1.6, "blur_columns": 0.0, "untouched": 34.0, "matched": 2.0},
        **{"gains_likely": 0.98, "shading_likely": 0.4},
    }
    said = dict(in_words(report))
    assert said["gains"] == "csf 0.96 ± 0.02, grey 1.08 ± 0.03, white 0.89 ± 0.01 (98% that there are any)"
    assert said["shading"] == "up to 18% (40% that there is any)"
    assert said["blur"].startswith("1.7 × 1.6 × 0.0 mm")
    assert said["noise"].startswith("3.5%")
    assert said["shrunk"].startswith("by 25%")
    assert in_words({}) == []
    assert in_words({"decision": MATCHED}) == [("decision", MATCHED)]
    alone = [left_alone({"decision": each}) for each in (NOTHING, OUTSIDE, INVERTED, MATCHED)]
    assert [each is None for each in alone] == [False, False, True, True]
    assert left_alone({}) is None
