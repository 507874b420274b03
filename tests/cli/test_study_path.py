"""The path of somebody with two sites: a reference of one's scans, a study, its mistakes. Made-up people; the installed
model's tissue network, on a grid of 4 mm, where a scan is an eighth of the work."""

import csv
import json
import shutil
import signal
from dataclasses import replace

import nibabel
import numpy as np
import pytest
from door import command, sidecar, start

from harmony.core.model_card import ModelCard
from harmony.core.models import resolve_model
from harmony.core.packed_model import About, pack
from harmony.data.sources.template import Template, person

PEOPLE = {"A": 9, "B": 4}


@pytest.fixture(scope="session")
def sites(tmp_path_factory):
    """Nine people on scanner A and four on B, whose grey matter is darker; ages in participants.tsv."""
    root, template = tmp_path_factory.mktemp("sites"), Template(4)
    rows = ["participant_id\tsite\tage\tsex"]
    for k, site in enumerate(site for site, count in PEOPLE.items() for _ in range(count)):
        made, who = template.subject(3, k), person(3, k)
        image = np.where((made.labels == 2) & (site == "B"), 0.85 * made.image, made.image)
        path = root / f"sub-{k:02d}" / "anat" / f"sub-{k:02d}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), made.affine), path)
        rows.append(f"sub-{k:02d}\t{site}\t{who.age:g}\t{who.sex}")
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Shared, as on a machine of somebody who tries again."""
    return {"HARMONY_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="session")
def coarse(tmp_path_factory):
    """The installed model's tissue network as a packed model of 4 mm."""
    folder = tmp_path_factory.mktemp("coarse")
    model = resolve_model(None, runs=folder, cache=folder)
    run = folder / "tissue"
    shutil.copytree(model.of("tissue"), run)
    shutil.copyfile(model.home / "reference.safetensors", run / "reference.safetensors")
    card = ModelCard.load(model.of("tissue"))
    replace(card, preprocess={**card.preprocess, "spacing": 4.0, "size": [60, 60]}).save(run)
    pack(folder / "coarse.harmony", {"tissue": run}, About("coarse", "CC0"), methods=["scanner_inversion"])
    return folder / "coarse.harmony"


def test_a_reference_of_ones_own(sites, coarse, cache, tmp_path):
    only = [f"--participants=[{','.join(f'{k:02d}' for k in range(9))}]"]
    words = ["reference", sites, "ours.harmony", *only, "--licence", "CC0", "--scans", "made up", "--model", coarse]
    process = start(*words, cwd=tmp_path, **cache)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("reading"):
            process.send_signal(signal.SIGTERM)
            break
    process.communicate(timeout=600)
    assert process.returncode == 143, lines
    assert not (tmp_path / "ours.harmony").exists()
    code, out, err = command(*words, cwd=tmp_path, **cache)
    assert code == 0, err
    assert "9 people; licence: CC0" in out
    assert "with 20 or more it is surer" in out
    code, out, err = command("harmonize", sites / "sub-10" / "anat" / "sub-10_T1w.nii.gz", "out", "--model",
                             "ours.harmony", "--method", "scanner_inversion", cwd=tmp_path, **cache)  # fmt: skip
    assert code == 0, err
    about = json.loads(next((tmp_path / "out").glob("sub-*/anat/*_T1w.json")).read_text())
    assert about["Model"] == "ours"
    assert about["Reference"]["subjects"] == 9
    code, _, err = command("harmonize", sites, "out", "--model", "ours.harmony", "--method", "blindharmony",
                           cwd=tmp_path, **cache)  # fmt: skip
    assert code == 2
    assert "needs a trained flow" in err


def stopped_after(words, mark, *, cwd, env):
    """The call, stopped by SIGTERM once a line starts with `mark`: its exit code."""
    process = start(*words, cwd=cwd, **env)
    for line in process.stdout:
        if line.startswith(mark):
            process.send_signal(signal.SIGTERM)
            break
    process.communicate(timeout=600)
    return process.returncode


def finished(words, *, cwd, env):
    """The call to its end, which may be far: its exit code, output, errors."""
    process = start(*words, cwd=cwd, **env)
    text, errors = process.communicate(timeout=900)
    return process.returncode, text, errors


def told(folder, table):
    """site -> row of a study's table."""
    with (folder / "study" / f"{table}.csv").open() as file:
        return {line["site"]: line for line in csv.DictReader(file)}


def number(cell):
    return float(cell.split(" ")[0])


def test_a_study_that_was_stopped_goes_on_and_ends_with_a_verdict(sites, coarse, cache, tmp_path):
    words, out = ["study", sites, "out", "--model", coarse, "--reference", "site=A"], tmp_path / "out"
    assert stopped_after(words, "  sub-", cwd=tmp_path, env=cache) == 143
    done = {path: path.read_bytes() for path in out.glob("sub-*/anat/*_T1w.nii.gz")}
    assert 1 <= len(done) < 13
    assert not (out / "study.html").exists()
    code, text, err = finished(words, cwd=tmp_path, env=cache)
    assert code == 0, err
    assert f"{13 - len(done)} scans harmonized, {len(done)} were done" in text
    assert all(path.read_bytes() == former for path, former in done.items())
    assert "sites: A 9, B 4" in text
    assert "B: " in text
    page = (out / "study.html").read_text()
    assert "Verdict" in page
    assert "Look at these first" in page
    no_harm_to_the_reference(sites, out, page)
    the_other_site_comes_nearer(out)
    first = (out / "study" / "scans.csv").read_bytes()
    code, text, err = finished(words, cwd=tmp_path, env=cache)
    assert code == 0, err
    assert "0 scans harmonized, 13 were done" in text
    assert (out / "study" / "scans.csv").read_bytes() == first
    code, _, err = command(*words[:-1], "site=B", cwd=tmp_path, **cache)
    assert code == 2
    assert "a study with reference=site=A is there -> another output folder" in err
    assert (out / "study" / "scans.csv").read_bytes() == first


def no_harm_to_the_reference(sites, out, page):
    """19 of 20 of its own scans, in the reference's unit, are what they were, bit for bit, or above 40 dB."""
    unharmed = []
    for k in range(PEOPLE["A"]):
        name = f"sub-{k:02d}/anat/sub-{k:02d}"
        before = nibabel.load(sites / f"{name}_T1w.nii.gz").get_fdata(dtype=np.float32)
        (path,) = out.glob(f"{name}_*T1w.nii.gz")
        scale = np.float32(sidecar(path.with_suffix("").with_suffix(".json"))["RobustMaximum"])
        off = (nibabel.load(path).get_fdata(dtype=np.float32) - before / scale)[before > 0]
        unharmed.append(not off.any() or -10 * np.log10(np.mean(off**2)) > 40)
    assert np.mean(unharmed) >= 0.95
    assert "A: 9 of its own 9 scans came back as they were." in page


def the_other_site_comes_nearer(out):
    contrast, probe = told(out, "contrast"), told(out, "told_from_a")
    before, after, wanted = (number(contrast[site][f"contrast gm wm, {when}"])
                             for site, when in (("B", "before"), ("B", "after"), ("A", "before")))  # fmt: skip
    assert abs(after - wanted) < 0.5 * abs(before - wanted)
    was, now = (number(probe["B"][f"retrained, {when}"]) for when in ("before", "after"))
    assert was > 0.9
    assert now < was - 0.15


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("site=C", "no scan is of 'C'; there are A (9), B (4)"),
        ("scaner=A", "no column 'scaner'; there are participant_id, site, age, sex"),
        ("site=B", "4 scans: a reference takes 8"),
    ],
)
def test_a_study_that_cannot_be_is_one_line(asked, said, sites, cache, tmp_path):
    code, _, err = command("study", sites, "out", "--reference", asked, cwd=tmp_path, **cache)
    assert code == 2
    assert said in err
    assert err.splitlines()[-1].startswith("error: ")
