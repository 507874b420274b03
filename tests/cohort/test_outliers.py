"""Which scan of one scanner is unlike the others, and how it is said."""

import numpy as np

from harmony.cohort.outliers import distance, outliers, unlike

BASE = {"contrast_gm_wm": 0.70, "contrast_csf_wm": 0.20, "spread_wm": 0.10, "volume_brain_ml": 1400.0}


def scanner(n=20, seed=0):
    rng = np.random.default_rng(seed)
    spread = {"contrast_gm_wm": 0.02, "contrast_csf_wm": 0.03, "spread_wm": 0.01, "volume_brain_ml": 120.0}
    return {f"sub-{k}": {key: BASE[key] + rng.normal(0, spread[key]) for key in BASE} for k in range(n)}


def test_scans_of_one_scanner_are_alike():
    assert sum(len(outliers(scanner(seed=seed))) for seed in range(20)) <= 2  # of 400 scans


def test_a_scan_of_another_contrast_is_named_with_what_it_has():
    found = outliers(scanner() | {"odd": BASE | {"contrast_gm_wm": 0.50}})
    assert [each.name for each in found] == ["odd"]
    assert found[0].reason.startswith("contrast of grey over white matter 0.5, the others 0.6")


def test_scans_that_are_all_the_same_make_nobody_odd():
    alike = {f"sub-{k}": dict(BASE) for k in range(8)}
    assert outliers(alike | {"near": BASE | {"contrast_gm_wm": 0.72}}) == []
    assert [each.name for each in outliers(alike | {"far": BASE | {"contrast_gm_wm": 0.80}})] == ["far"]


def test_two_reasons_and_the_farther_one():
    others = list(scanner().values())
    own = BASE | {"contrast_gm_wm": 0.9, "volume_brain_ml": 500.0}
    assert unlike(own, others).count(";") == 1
    assert distance(own, others) > distance(BASE | {"contrast_gm_wm": 0.8}, others) > distance(BASE, others)


def test_a_scan_is_held_against_the_others_not_against_itself_too():
    """Of four others at 0.60 .. 0.69 the robust deviation is 0.045; with the odd one among them it would be larger."""
    others = {f"sub-{k}": BASE | {"contrast_gm_wm": 0.60 + 0.03 * k} for k in range(4)}
    assert [each.name for each in outliers(others | {"odd": BASE | {"contrast_gm_wm": 0.645 + 0.18}})] == ["odd"]
