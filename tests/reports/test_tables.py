"""What the table and the summary say of rows whose answer is known."""

import pytest

from harmony.analysis import biology, result_table
from harmony.core import Row
from harmony.reports import box_figure, print_table

PSNR = {"none": (20.0, 22.0), "matching": (30.0, 21.0)}
DICE = {"none": (0.6, 0.7), "matching": (0.8, 0.65), "bigaug": (0.7, 0.8)}


def rows(metrics=None):
    metrics = {"psnr": PSNR, "dice": DICE} if metrics is None else metrics
    found = [
        Row(method, "exp", f"sub-{k}", metric, value)
        for metric, methods in metrics.items()
        for method, values in methods.items()
        for k, value in enumerate(values)
    ]
    return found + [Row("none", "reference", f"sub-{k}", "dice", 0.9) for k in range(2) if "dice" in metrics]


def printed(capsys, found):
    print_table(result_table(found), title="t")
    return capsys.readouterr().out


def line(output, method):
    return next(line for line in output.splitlines() if method in line)


def test_harm_is_in_dice_where_a_judge_gave_it(capsys):
    output = printed(capsys, rows())
    assert "50%" in line(output, "matching")
    assert "0%" in line(output, "bigaug")
    assert "-" in line(output, "bigaug").split("│")[3]  # it has no image, so no PSNR
    assert "%" not in line(output, "none")
    assert "less Dice" in output


def test_harm_is_in_psnr_without_a_judge(capsys):
    output = printed(capsys, rows({"psnr": PSNR}))
    assert "50%" in line(output, "matching")
    assert "less PSNR than" in output
    assert "(too few)" in line(output, "matching")  # two subjects have no interval


def test_three_subjects_have_an_interval(capsys):
    output = printed(capsys, rows({"psnr": {"none": (20.0, 21.0, 22.0), "matching": (30.0, 30.0, 30.0)}}))
    assert "21.0 [18.5, 23.5]" in line(output, "none")
    assert "30.0 [30.0, 30.0]" in line(output, "matching")


def test_sessions_of_a_person_count_once(capsys):
    found = [Row("none", "exp", person, "psnr", value, f"{person}_{k}")
             for person, values in (("a", (10.0, 20.0)), ("b", (30.0,)), ("c", (0.0, 10.0, 20.0)))
             for k, value in enumerate(values)]  # fmt: skip
    table = result_table(found)
    assert table.cells["exp", "none", "psnr"].mean == pytest.approx((15 + 30 + 10) / 3)
    assert table.cells["exp", "none", "psnr"].subjects == 3
    assert "(n=3)" in printed(capsys, found)


def test_a_shift_is_paired_by_person_and_not_by_session():
    """A traveller's scan of another scanner is another session than the reference scan."""
    dice = (("none", "A", 0.5), ("hm", "A", 0.7), ("none", "reference", 0.9))
    found = [Row(method, domain, f"s{k}", "dice", value + 0.01 * k, f"s{k}_ses-{domain}")
             for k in range(3) for method, domain, value in dice]  # fmt: skip
    assert result_table(found).recovered("A", "hm").mean == pytest.approx(0.5)


def test_the_answers_of_a_retrained_probe_have_the_wider_interval():
    answers = (0.5, 0.6, 0.8, 0.7)
    found = [Row("none", "exp", f"s{k}", metric, v) for k, v in enumerate(answers) for metric in
             ("site_frozen", "site_retrained")]  # fmt: skip
    plain, shared = (result_table(found).cells["exp", "none", m] for m in ("site_frozen", "site_retrained"))
    assert (shared.high - shared.mean) / (plain.high - plain.mean) == pytest.approx((1 + 4 / 3) ** 0.5)


def test_the_title_counts_the_subjects_of_each_domain():
    found = [Row("none", "exp", f"s{k}", "psnr", 20.0) for k in range(5)]
    assert result_table(found).subjects == "5"
    more = [Row("none", "B", f"t{k}", "psnr", 20.0) for k in range(12)]
    assert result_table(found + more).subjects == "5 to 12"


def test_it_is_readable_at_120_columns(capsys):
    def long(*metrics):
        large = {"psnr": 41.0, "psnr_brain": 41.0, "jitter": 12.0, "hd95": 12.0, "age_error": 12.0, "seconds": 120.0}
        return rows({m: {"none": (0.5, 0.6), "harmonizing_flows_jacobian": 2 * (large.get(m, 0.9),)} for m in metrics})

    images = ("psnr", "psnr_brain", "ssim", "bpd", "jitter", "seconds")
    output = printed(capsys, long(*images, "dice", "hd95", "age_error", "site_retrained"))
    assert max(map(len, output.splitlines())) <= 120
    assert "harmonizing_flows_jacobian" in output  # not broken into two lines
    assert "lesi" not in output
    wide = printed(capsys, long(*images, "dice", "hd95", "age_error", "site_retrained", "lesion_contrast"))
    assert sum("│" in row for row in wide.splitlines()) == 3  # nor is any other cell: a method, a line
    assert "lesion" in wide
    for column in ("PSNR dB", "SSIM", "bpd", "Dice", "HD95", "age MAE", "site", "worse"):
        assert column in output
    assert "jitter" not in output
    assert "s/volume" not in output
    without = printed(capsys, long(*images))
    assert max(map(len, without.splitlines())) <= 120
    assert "PSNR brain" in without
    assert "jitter" in without


def test_the_summary_compares_with_none():
    found = result_table(rows()).against_none()
    assert set(found) == {"exp"}
    assert set(found["exp"]) == {"matching", "bigaug"}
    assert found["exp"]["matching"]["psnr"]["difference"][0] == pytest.approx(4.5)
    assert found["exp"]["matching"]["dice"]["worse"] == 0.5
    assert found["exp"]["matching"]["recovered_dice"][0] == pytest.approx(0.075 / 0.25)
    assert found["exp"]["bigaug"]["recovered_dice"][0] == pytest.approx(0.1 / 0.25)


def test_biology_by_hand():
    ages, errors, volumes = (20.0, 40.0, 60.0), (4.0, 2.0, 0.0), (500.0, 480.0, 460.0)
    found = biology(
        Row("none", "exp", f"sub-{k}", metric, value)
        for k in range(3)
        for metric, value in (
            ("age_predicted", ages[k] + errors[k]),
            ("age_signed_error", errors[k]),
            ("volume_gm_ml", volumes[k]),
            ("dice", 0.5 + 0.1 * k),
        )
    )
    expected = {"mae": 2.0, "r2": 1 - 20 / 800, "bias_per_year": -0.1}
    assert found == {"exp": {"none": {"age": pytest.approx(expected), "gm_ml_per_year": pytest.approx(-1.0)}}}
    assert biology(rows()) == {}


def test_boxes_are_drawn(tmp_path):
    box_figure(tmp_path / "dice.png", rows(), "dice", title="t")
    assert (tmp_path / "dice.png").stat().st_size > 5000
