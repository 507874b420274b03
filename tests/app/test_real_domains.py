"""Scans of another scanner as query domains: with and without a truth, and whom they may score."""

import contextlib
import csv
import io
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from commands import TINY, untrained
from configs import composed
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from harmony import app
from harmony.core import ConfigError, DataError
from harmony.data import on_grid_of, on_one_lattice
from harmony.evaluate import evaluate
from harmony.evaluation import Case, closest_pairs, query_domains

METHODS = ["none", "histogram_matching", "harmonizing_flows"]
SMALL = [
    *TINY, "logger=csv", f"methods=[{','.join(METHODS)}]", "evaluation.judges=[segmentation,age,site]",
    "evaluation.figure_subjects=1",
    "evaluation.subjects=3", "evaluation.include_reference=false", "data.source.subjects=14",
    "tasks.segmenter.network.widths=[4,8]", "tasks.age.network.widths=[4,8]",
    "tasks.harmonizer.network.widths=[4,4]", "method.harmonizing_flows.stop.passes=1",
]  # fmt: skip


def save(path, data, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.asarray(data, np.float32), affine), path)


def travel(reference, root, name, gamma, pad=0):
    """The scan as another scanner would have made it, on a grid of its own: padded by `pad` voxels on the low sides."""
    native = nibabel.load(reference.path)
    data = np.asarray(native.dataobj, np.float64)
    affine = native.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, pad)
    data = np.pad((data / data.max()) ** gamma * data.max(), ((pad, 0),) * 3)
    save(root / name / "anat" / f"{name}_T1w.nii.gz", data, affine)
    return data, affine


@pytest.fixture(scope="module")
def parts(cache):
    """Part -> the reference scans of it."""
    return app.build_data(config(cache)).split()


@pytest.fixture(scope="module")
def folders(tmp_path_factory, parts):
    """away: unpaired, no labels, with lesions, one subject of the train part. back: test subjects, one of them not
    scanned there, and one of the validation part."""
    root = tmp_path_factory.mktemp("scanners")
    for k, scan in enumerate(parts["test"][:3]):
        name = f"sub-far{k}"
        data, affine = travel(scan, root / "away", name, 0.7)
        place = np.indices(data.shape).sum(0)
        lesions = (data > 0) & (abs(place - np.median(place[data > 0])) < 2)
        save(root / "away/derivatives/lesions" / name / "anat" / f"{name}_label-lesion_mask.nii.gz", lesions, affine)
    travel(parts["train"][0], root / "away", parts["train"][0].subject, 0.7)
    for gamma, scan in ((0.8, parts["test"][0]), (1.0, parts["test"][1]), (1.0, parts["val"][0])):
        travel(scan, root / "back", scan.subject, gamma, pad=3)
    return root


def config(cache, *overrides):
    return composed(*SMALL, f"cache={cache}", *overrides)


def domains(cfg):
    return query_domains(app.build_data(cfg), app.query_scanners(cfg), app.evaluation_settings(cfg))


def real(folders, **changes):
    bids = "_target_: harmony.data.BidsFolder"
    away = f"{{{bids}, root: {folders}/away, lesions: 'derivatives/lesions/{{subject}}/anat/*_mask.nii.gz'}}"
    nodes = {
        "away": f"{{source: {away}, paired: false}}",
        "back": f"{{source: {{{bids}, root: {folders}/back}}, paired: true}}",
    }
    chosen = nodes | changes
    return ["data.query=[away,back]", *(f"+data.real.{name}={node}" for name, node in chosen.items())]


@pytest.fixture(scope="module")
def cfg(tmp_path_factory, cache, folders):
    """A tiny experiment whose networks are there, as training would leave them, with random weights."""
    cfg = config(cache, f"runs={tmp_path_factory.mktemp('real')}", *real(folders))
    app.refuse_impossible(cfg)
    untrained(cfg)
    return cfg


@pytest.fixture(scope="module")
def first(cfg):
    """The folder and the output of one whole evaluation."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        evaluate(cfg)
    return app.experiment_run(cfg, app.build_data(cfg)).path, output.getvalue()


def read(run):
    """(method, domain, metric) -> subject -> value."""
    found = {}
    for row in csv.DictReader((run / "results.csv").open()):
        key = row["method"], row["domain"], row["metric"]
        found.setdefault(key, {})[row["subject"]] = float(row["value"])
    return found


def test_rows_without_a_truth(first):
    found = read(first[0])
    metrics = {metric for _, domain, metric in found if domain == "away"}
    assert metrics == {
        "jitter", "bpd", "seconds", "negatives", "background_changed", "lesion_contrast", "age_predicted",
        "site_retrained", "volume_csf_ml", "volume_gm_ml", "volume_wm_ml",
    }  # fmt: skip
    for method in METHODS:
        for metric in metrics:
            assert list(found[method, "away", metric]) == ["sub-far0", "sub-far1", "sub-far2"], metric
        assert set(found[method, "away", "negatives"].values()) == {0}
        assert set(found[method, "away", "background_changed"].values()) == {0}
        assert all(0 <= value <= 1 for value in found[method, "away", "site_retrained"].values())


def test_rows_of_travelling_subjects(first, parts):
    found = read(first[0])
    travelled = [scan.subject for scan in parts["test"][:2]]
    for method in METHODS:
        for metric in ("psnr", "ssim", "psnr_brain", "dice", "dice_gm", "age_error"):
            assert list(found[method, "back", metric]) == travelled, metric
    changed, same = found["none", "back", "psnr"].values()
    assert 10 < changed < 40
    assert same == 100  # the same voxels on another grid
    assert ("none", "back", "lesion_contrast") not in found
    assert ("none", "back", "site_retrained") not in found
    said = "no retrained site probe on back: 2 people there, 2 on the reference scanner; it takes 3"
    assert first[1].count(said) == 1


def test_nobody_from_another_part_is_scored_or_adapted_to(first, parts):
    run, output = first
    scored = {subject for subjects in read(run).values() for subject in subjects}
    assert not scored & {scan.subject for part in ("train", "val") for scan in parts[part]}
    for domain in ("away", "back"):
        seen = json.loads((run / "adaptation" / f"harmonizing_flows-{domain}.json").read_text())
        assert set(seen["subjects"]) <= scored
        assert (seen["psnr"] == []) == (domain == "away")
    train, val, alone = parts["train"][0].subject, parts["val"][0].subject, parts["test"][2].subject
    left_out = json.loads((run / "summary.json").read_text())["left_out"]
    assert left_out == [
        f"away: 1 subject ({train}) in another part of the reference data than test",
        f"back: 1 subject ({val}) in another part of the reference data than test",
        f"back: 1 subject ({alone}) scored on the reference scanner, without a scan here",
    ]
    assert all(f"left out: {line}" in output for line in left_out)
    assert all(line in (run / "report.html").read_text() for line in left_out)


def test_the_subjects_of_validation_are_for_choosing_and_the_test_subjects_not(cfg, parts):
    chosen = OmegaConf.merge(cfg, {"evaluation": {"part": "val", "adapt_on": "val"}, "data": {"query": ["back"]}})
    app.refuse_impossible(chosen)
    (domain,) = domains(chosen)
    assert [case.name for case in domain.cases] == [parts["val"][0].subject]


def test_the_number_of_scored_scans_can_be_limited(cfg):
    few = OmegaConf.merge(cfg, {"evaluation": {"subjects": 2}, "data": {"query": ["away"]}})
    (domain,) = domains(few)
    assert [case.name for case in domain.cases] == ["sub-far0", "sub-far1"]
    assert domain.adapt_on == domain.cases


def test_lesion_contrast_by_hand(cfg, first):
    run, _ = first
    away = next(domain for domain in domains(cfg) if domain.name == "away")
    slices = away.cases[0].slices(app.evaluation_settings(cfg).cut)
    image, lesions = slices.query.image[:, 0].double(), slices.lesions
    assert 0 < slices.white_matter.sum() < (slices.query.mask[:, 0] & ~lesions).sum()
    assert not (slices.white_matter & lesions).any()
    inside, around = image[lesions].mean(), image[slices.white_matter].mean()
    value = read(run)["none", "away", "lesion_contrast"]["sub-far0"]
    assert value == pytest.approx(float((inside - around) / around), abs=1e-6)
    assert slices.shown == int(lesions.flatten(1).sum(1).argmax())


def test_figures_and_page_of_a_domain_without_truth(first):
    run, output = first
    names = {path.name for path in (run / "figures").glob("away-*.png")}
    assert names >= {"away-sub-far0.png", "away-sub-far0-labels.png", "away-adaptation.png"}
    page = (run / "report.html").read_text()
    assert "minus input" in page
    assert "minus truth" in page  # of the other domain
    assert "away is a scanner of its own" in page
    assert "the truth is the same subject" in page
    assert (run / "panels" / "away" / "sub-far0-brain.png").exists()
    assert {path.stem for path in (run / "panels/away/sub-far0").iterdir()} == {"query", *METHODS[1:]}
    assert not list(run.rglob("*.npz"))
    assert any("away" not in line and line.strip().endswith(" bpd") for line in output.splitlines())


def test_the_run_is_known_by_the_foreign_data(cfg, folders, tmp_path, cache):
    def name(*overrides):
        chosen = config(cache, *real(folders), *overrides)
        return app.experiment_run(chosen, app.build_data(chosen)).path.name

    before = name()
    path = folders / "away/sub-far0/anat/sub-far0_T1w.nii.gz"
    content = path.read_bytes()
    try:
        image = nibabel.load(path)
        save(path, 2 * np.asarray(image.dataobj), image.affine)
        assert name() != before
        path.write_bytes(content)
        assert name() == before
        lesions = next((folders / "away/derivatives/lesions").rglob("*.nii.gz"))
        marked = nibabel.load(lesions)
        save(lesions, 2 * np.asarray(marked.dataobj), marked.affine)
        assert name() != before
        save(lesions, np.asarray(marked.dataobj), marked.affine)
        before = name()
    finally:
        path.write_bytes(content)
    assert name("data.real.away.paired=true") != before
    assert name("data.query=[away]") != before
    (tmp_path / "moved").symlink_to(folders / "away")
    assert name(f"data.real.away.source.root={tmp_path}/moved") == before
    assert name("data.query=[exp]") == config_name(cache)


def config_name(cache):
    chosen = config(cache, "data.query=[exp]")
    return app.experiment_run(chosen, app.build_data(chosen)).path.name


def test_the_source_is_the_references_with_its_own_settings_over_it(cache):
    cfg = config(cache, "+data.real.b={source: {subjects: 3}, paired: true}")
    assert [scan.subject for scan in app.real_scans(cfg, "b")] == ["sub-0000", "sub-0001", "sub-0002"]
    assert cfg.data.source.subjects == 14
    with pytest.raises(ConfigKeyError, match="subjcts"):
        app.real_scans(config(cache, "+data.real.b={source: {subjcts: 3}, paired: true}"), "b")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.query=[awway]"], r"data\.query=.*awway.*away.*exp"),
        (["evaluation.adapt_on=val"], r"adapt_on=val.*data\.real\.away.*adapt_on=test"),
        (["+data.real.exp={source: {}, paired: true}"], r"data\.real\.exp.*of this name"),
        (["+data.real.reference={source: {}, paired: true}"], r"data\.real\.reference.*of this name"),
        (["+data.real.c={source: {}}"], r"data\.real\.c: needs source.*paired"),
        (["+data.real.c={source: {}, paired: perhaps}"], r"data\.real\.c: needs source.*paired"),
    ],
)
def test_a_mistake_in_a_real_domain_is_one_clear_error(cache, folders, overrides, words):
    with pytest.raises(ConfigError, match=words):
        app.refuse_impossible(config(cache, *real(folders), *overrides))


def test_a_foreign_source_may_build_data_and_nothing_else(cache):
    cfg = config(cache, "+data.real.c={source: {_target_: os.system, command: ls}, paired: false}")
    with pytest.raises(ConfigError, match=r"data\.real\.c\.source\._target_=os\.system"):
        app.refuse_foreign_targets(cfg)


def test_a_missing_folder_and_a_domain_without_scans_are_one_clear_error(cache, folders, tmp_path):
    nowhere = config(cache, *real(folders), f"data.real.away.source.root={tmp_path}/no")
    with pytest.raises(DataError, match=r"no such folder -> .*data\.real\.away\.source\.root="):
        app.real_scans(nowhere, "away")
    strangers = config(cache, *real(folders), "data.query=[away]", "data.real.away.paired=true")
    with pytest.raises(DataError, match=r"data\.real\.away: none of its 4 scans .*same ids"):
        domains(strangers)
    unsaid = composed("experiment=ixi_open_ms", "data.root=/nowhere")
    with pytest.raises(ConfigError, match=r"must say data\.real\.open_ms\.source\.root="):
        app.refuse_impossible(unsaid)
    itself = config(cache, "+data.real.b={source: {}, paired: true}", "data.query=[b]")
    with pytest.raises(DataError, match=r"reference data itself.*data\.real\.b\.source"):
        domains(itself)


def test_a_travelling_scan_is_put_where_the_other_one_lies(cfg):
    """The other's brain box begins 2 slices later, and its window 3 rows later."""
    volume = app.build_data(cfg).volumes("test")[0]
    cut = {name: getattr(volume, name)[2:].roll(-3, 1) for name in ("image", "mask", "labels")}
    for values in cut.values():
        values[:, -3:] = 0
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ [2, 3, 0, 1])[:3]
    other = replace(volume, **cut, affine=affine)
    moved = on_grid_of(volume, other)
    assert torch.allclose(moved.image, other.image, atol=1e-5)
    assert torch.equal(moved.mask, other.mask)
    assert torch.equal(moved.labels, other.labels)
    assert moved.scan is volume.scan


def test_the_truth_is_scored_where_the_query_lies(cache, parts, tmp_path):
    """The other scanner missed the lowest slices: its brain box begins later, and slice k is another slice."""
    scan = parts["test"][0]
    data, affine = travel(scan, tmp_path / "cut", scan.subject, 1.0)
    data[..., : 3 + int(np.argmax(data.any((0, 1))))] = 0
    save(tmp_path / "cut" / scan.subject / "anat" / f"{scan.subject}_T1w.nii.gz", data, affine)
    node = f"{{source: {{_target_: harmony.data.BidsFolder, root: {tmp_path}/cut}}, paired: true}}"
    (domain,) = domains(config(cache, f"+data.real.cut={node}", "data.query=[cut]"))
    (case,) = domain.cases
    assert len(case.scan.image) < len(app.build_data(config(cache)).volumes("test")[0].image)
    both = case.scan.mask & case.truth.mask
    assert both.sum() > 0.9 * case.scan.mask.sum()
    assert (case.scan.image - case.truth.image)[both].abs().max() < 0.05


def test_travelling_scans_must_lie_on_one_another(cfg, parts):
    data = app.build_data(cfg)
    one = data.volumes("test")[0]
    assert torch.equal(on_grid_of(one, one).mask, one.mask)
    assert torch.equal(on_grid_of(one, one).labels, one.labels)
    affine = one.affine.copy()
    affine[:3, 3] += 40  # mm
    with pytest.raises(DataError, match=r"overlaps .*Dice of 0\.\d+ only.*register"):
        on_grid_of(replace(one, affine=affine), one)


def test_the_untouched_scored_scans_are_what_other_people_are_told_from(cfg):
    data = app.build_data(cfg)
    panel = app.build_panel(cfg, app.load_models(cfg, data).networks, data, [])
    probe = panel.cohorts["site"]
    cut = app.evaluation_settings(cfg).cut
    for volume in data.volumes("test")[:3]:
        expected = probe.probe.features(Case(volume, volume).slices(cut).query)
        assert torch.equal(panel._reference["site"][volume.scan.name]["image"], expected)
    assert len(panel._reference["site"]) == 3
    assert probe.frozen == {}


def test_a_truth_between_the_voxels_keeps_its_brain_to_the_rim(cfg):
    """A brain of one grey level stays one: the zeros outside are not mixed in."""
    volume = app.build_data(cfg).volumes("test")[0]
    flat = replace(volume, image=torch.where(volume.mask, 0.6, 0.0))
    affine = volume.affine.copy()
    affine[:3, 3] = (volume.affine @ [0.5, 0.5, 0.5, 1])[:3]
    moved = on_grid_of(flat, replace(volume, affine=affine))
    assert not on_one_lattice(flat, replace(volume, affine=affine))
    assert on_one_lattice(flat, flat)
    torch.testing.assert_close(moved.image[moved.mask], torch.full((int(moved.mask.sum()),), 0.6))
    assert not moved.image[~moved.mask].any()


def test_of_several_sessions_the_two_closest_in_age_are_compared(cfg):
    volume = app.build_data(cfg).volumes("test")[0]
    scan = volume.scan
    scored = [replace(volume, scan=replace(scan, session=f"ses-{age}", age=age)) for age in (50.0, 60.0)]
    scans = [replace(scan, session=f"ses-q{age}", age=age) for age in (54.0, 61.0, 70.0)]
    stranger = replace(scan, subject="sub-stranger", age=60.0)
    [(one, other)] = closest_pairs(scored, [*scans, stranger])
    assert (one.scan.age, other.age) == (60.0, 61.0)
    unknown = [replace(each, age=None) for each in scans]
    assert closest_pairs(scored, unknown) == [(scored[0], unknown[0])]
