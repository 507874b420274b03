"""The quality page: worst first, in words, and still a page where there are many scans."""

import re

from folders import quality_folder

from harmony.reports import quality


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
