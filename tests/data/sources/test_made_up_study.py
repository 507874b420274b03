"""The made-up study: three sites as folders, one of them of people who travelled, each by a scanner of its own."""

import nibabel
import numpy as np

from harmony.cohort.sites import find_sites
from harmony.data.sources.made_up_study import PEOPLE, made_up_study, main


def voxels(scan):
    return np.asarray(nibabel.load(scan.path).dataobj, np.float32)


def test_the_people_of_b_were_at_a_and_every_site_is_a_scanner_of_its_own(tmp_path, capsys):
    assert made_up_study(tmp_path, resolution=8) == ["A", "B", "C"]
    sites = find_sites(tmp_path, "folder=A", participants=None, mask=None)
    assert sites.counts == PEOPLE
    people = {name: {scan.subject: scan for scan in sites.of(name)} for name in PEOPLE}
    assert set(people["B"]) < set(people["A"])
    assert not set(people["C"]) & set(people["A"])
    assert all(scan.age and scan.sex for scan in sites.scans)
    for subject, there in people["B"].items():
        here = people["A"][subject]
        a, b = voxels(here), voxels(there)
        assert ((a > 0) == (b > 0)).all()
        assert (here.age, here.sex) == (there.age, there.sex)
        inside = a > 0
        assert np.corrcoef(a[inside], b[inside])[0, 1] < 0.99
    former = sites.scans[0].path.stat().st_mtime_ns
    main([str(tmp_path)])
    assert f"made-up sites A, B, C in {tmp_path}" in capsys.readouterr().out
    assert sites.scans[0].path.stat().st_mtime_ns == former
