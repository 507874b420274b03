"""The quality page: worst first, in words, and still a page where there are many scans."""

import re

import pytest
from folders import made_up_plane, quality_folder
from matplotlib.figure import Figure

from harmony.reports import QualityEntry, before_after, quality, quality_page

MADE = {"Method": "nyul", "Model": "ixi-hh"}


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


def test_a_warning_comes_before_everything_else(tmp_path):
    quality_folder(tmp_path)
    doubtful = QualityEntry(
        "odd_T1w", 0.0, tmp_path / "a.png", warnings=["not like any T1w brain that is known"], settings=MADE
    )
    plain = QualityEntry("plain_T1w", 0.9, tmp_path / "a.png", settings=MADE)
    quality_page(tmp_path / "two.html", [plain, doubtful], [])
    page = (tmp_path / "two.html").read_text()
    assert re.findall(r'<h3 id="(\w+)"', page) == ["odd_T1w", "plain_T1w"]
    assert "1 scan with a warning." in page
    assert '<p class="worse">not like any T1w brain that is known.</p>' in page


def test_of_many_scans_the_last_pictures_are_read_from_beside(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "INSIDE", 2)
    page = quality_folder(tmp_path).read_text()
    assert page.count("data:image/png;base64,") == 2
    assert 'src="figures/little_T1w.png" loading="lazy"' in page


def test_what_was_harmonized_in_part_comes_before_what_was_left_alone(tmp_path):
    quality_folder(tmp_path)
    entries = [
        QualityEntry("all_T1w", 0.5, tmp_path / "a.png", missed=0.009, settings=MADE),
        QualityEntry("alone_T1w", 0.0, tmp_path / "a.png", left_alone="so", settings=MADE),
        QualityEntry("part_T1w", 0.1, tmp_path / "a.png", missed=0.034, remarks=["39 ml beyond"], settings=MADE),
    ]
    quality_page(tmp_path / "three.html", entries, [])
    page = (tmp_path / "three.html").read_text()
    assert re.findall(r'<h3 id="(\w+)"', page) == ["part_T1w", "alone_T1w", "all_T1w"]
    assert "part_T1w</a></td><td>incomplete</td>" in page
    assert page.count("of the brain mask were not harmonized") == 1
    assert "3.4 % of the brain mask were not harmonized" in page
    assert "39 ml beyond." in page
    assert "1 scan harmonized in part." in page


@pytest.mark.parametrize("reference", [True, False])
def test_the_mask_is_outlined_before_the_change_and_the_sides_are_named(reference):
    """And where nothing is known of the reference, nothing is drawn of it."""
    plane, axis = made_up_plane(reference=reference), Figure().subplots()
    axis.set(xlim=(0, 4), ylim=(0, 1))
    rows, columns = plane.mask.shape
    before_after.draw_plane(axis, [(k, k + 1, 0, 1) for k in range(3 + reference)], plane)
    (outline,) = axis.collections
    border = outline.get_paths()[0].vertices * (columns, rows)
    inside = plane.mask.any(0).nonzero()[0]
    assert abs(border[:, 0].min() - inside.min()) < 0.1
    assert abs(border[:, 0].max() - (inside.max() + 1)) < 0.1
    assert [image.get_extent() for image in sorted(axis.images, key=lambda image: image.get_extent()[0])] == [
        [k, k + 1, 0, 1] for k in range(3 + reference)
    ]
    sides = sorted(axis.texts, key=lambda text: text.get_position()[0])
    assert [text.get_text() for text in sides] == ["L", "R"]
    assert all(0 < text.get_position()[0] < 1 for text in sides)
    drawn = {image.get_extent()[0]: image.get_array() for image in axis.images}
    assert (drawn[2] == plane.after - plane.before).all()
    assert not reference or (drawn[3] == plane.reference).all()
