"""The verdict on made-up sites: gone, still there, cannot be told; biology kept or lost; travellers."""

import numpy as np
import pytest

from harmony.cohort.findings import study_findings, verdict
from harmony.cohort.telling import AFTER, BEFORE
from harmony.core import Row, Scan
from harmony.judges.probe import Probe

PROBE = Probe(quantiles=[], scales=[], penalties=[1.0, 10.0], folds=3)


def made_up(people=25, *, before=0.2, after=0.0, ageing=-2.0, kept=1.0, same=False, seed=0):
    """Sites A and B; B's contrast is off by so much before and after, and a share `kept` of ageing is left after."""
    rng = np.random.default_rng(seed)
    rows, scans = [], []
    for site in "AB":
        for k in range(people):
            name = f"sub-{k}" if same else f"sub-{site}{k}"
            age, contrast, gm = 20 + 60 * k / people, rng.normal(0.7, 0.02), rng.normal(640, 20)
            scans.append(Scan(f"{name}.nii", name, session=f"ses-{site}" if same else None, site=site, age=age))
            for when, shift, share in ((BEFORE, before, 1.0), (AFTER, after, kept)):
                off = shift if site == "B" else 0
                values = {
                    "contrast_gm_wm": contrast + off,
                    "contrast_csf_wm": rng.normal(0.2, 0.02) + off,
                    "spread_wm": rng.normal(0.1, 0.01),
                    "volume_gm_ml": gm + share * ageing * (age - 50) + 100 * off,
                    "volume_wm_ml": rng.normal(500, 30),
                    "volume_csf_ml": rng.normal(250, 30),
                    "volume_brain_ml": 1400.0,
                }
                rows += [Row(when, site, name, key, value, scans[-1].name) for key, value in values.items()]
    return study_findings(rows, scans, "A", PROBE)


def test_a_scanner_that_is_gone():
    found = made_up()
    told = found.telling["B"]
    assert told.before.mean > 0.95
    assert 0 <= told.before.low <= told.before.high <= 1
    assert told.after.low <= 0.5
    assert told.after.high < 0.8
    assert "B: not told from A any more" in verdict(found)[0]


def test_a_scanner_that_is_still_there_whatever_the_frozen_classifier_says():
    found = made_up(after=-0.2)
    told = found.telling["B"]
    assert told.after.mean > 0.95
    assert told.frozen.mean < 0.6  # it looks on the other side
    assert "B: STILL told from A" in verdict(found)[0]


def test_what_was_not_told_before():
    assert "and was not before" in verdict(made_up(before=0.0))[0]


@pytest.mark.parametrize(("people", "said"), [(2, "2 people, it takes 3"), (4, "too few people")])
def test_few_people_tell_nothing(people, said):
    line = verdict(made_up(people=people))[0]
    assert "B: cannot be told whether" in line
    assert said in line


def test_age_that_is_still_there_and_age_that_is_lost():
    assert "age: still in the volumes as before (ml per year: gm -2." in verdict(made_up())[1]
    assert "age: NO LONGER in gm" in verdict(made_up(kept=0.0))[1]
    assert "age: cannot be told" in verdict(made_up(ageing=0.0))[1]
    assert "sex: cannot be told" in verdict(made_up())[2]


def test_people_who_were_at_both_sites():
    found = made_up(same=True)
    (gm,) = (each for each in found.travellers if each.metric == "volume_gm_ml")
    assert gm.sites == ("A", "B")
    assert gm.after.icc.subjects == 25
    assert made_up().travellers == []
