"""The page says what the rows say: pooled over seeds, compared on the same subjects, rebuilt from the folder alone."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from folders import METHODS, SUBJECTS, config, images, made_up_rows, run_folder, value
from matplotlib.image import imread
from omegaconf import OmegaConf
from programs import Program

from harmony import app
from harmony.analysis import Entry, EvaluatedRun, compare, find_runs
from harmony.analysis.identity import settings_of
from harmony.core import ConfigError, DamagedError, DataError, Row
from harmony.core.vocabulary import RESULTS
from harmony.reports import report_page
from harmony.reports.citations import CITED, cite, references
from harmony.reports.kept import ABOVE, BELOW, difference, keep, read_brain, read_histograms, read_panels, read_traces
from harmony.reports.view import View
from harmony.reports.words import SCANNERS, methods_text, words

CONF = Path(app.conf_folder())
WORDS_SOURCE = Path(words.__code__.co_filename).read_text()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    for seed in (1, 2):
        run_folder(root, seed)
    (root / "made_up" / "seed3-0123abcd").mkdir()
    return root / "made_up"


@pytest.fixture(scope="module")
def page(sweep):
    report_page([sweep], sweep / "report.html")
    return (sweep / "report.html").read_text()


def test_seeds_are_pooled_before_subjects_are_counted(sweep):
    comparison = compare(find_runs([sweep]).runs)
    assert [group.seeds for group in comparison.groups] == [[1, 2]]
    cell = comparison.cells[Entry("blindharmony", 0), "gamma_0.7", "psnr"]
    assert cell.interval.subjects == 3
    per_seed = [np.mean([value(seed, "blindharmony", "gamma_0.7", s) for s in SUBJECTS]) for seed in (1, 2)]
    assert cell.by_seed == pytest.approx(per_seed)
    assert cell.spread == pytest.approx(np.std(per_seed, ddof=1))
    assert cell.interval.mean == pytest.approx(np.mean(per_seed))


def test_best_and_tests_follow_the_metrics_direction(sweep):
    comparison = compare(find_runs([sweep]).runs)
    assert comparison.best("gamma_0.7", "psnr") == [Entry("harmonizing_flows", 0)]
    assert comparison.best("gamma_0.7", "hd95_wm") == [Entry("none", 0)]
    assert comparison.best("gamma_0.7", "bpd") == []
    assert comparison.best("gamma_0.7", "warp_factor") == []
    better = comparison.tests[Entry("blindharmony", 0), "gamma_0.7", "psnr"]
    assert better.against.difference.mean == pytest.approx(2)
    assert (better.against.p, better.adjusted, better.against.harmed) == (pytest.approx(0.25), 0.75, 0)
    assert comparison.tests[Entry("blindharmony", 0), "gamma_0.7", "hd95_wm"].against.harmed == 0  # 0.2 mm
    untouched = comparison.tests[Entry("blindharmony", 0), "reference", "psnr"]
    assert untouched.adjusted is None  # it asks another question: Holm corrects for the three on the query scanner
    tested = {key[2] for key in comparison.tests}
    assert len(comparison.tests) == 3 * 2 * 2  # methods but none, domains, metrics
    assert tested == {"psnr", "hd95_wm"}


def test_a_sweeps_records_name_its_runs_and_what_failed(tmp_path):
    runs = [run_folder(tmp_path, seed) for seed in (1, 2)]
    jobs = tmp_path / "sweep" / "jobs"
    jobs.mkdir(parents=True)
    for k, run in enumerate(runs):
        job = {"overrides": [f"seed={k + 1}"], "state": "done", "problem": None, "runs": {"evaluate": str(run)}}
        (jobs / f"{k}.json").write_text(json.dumps(job))
    failed = {"overrides": ["seed=3", "flow=blindharmony"], "state": "failed", "problem": "too large", "runs": {}}
    (jobs / "2.json").write_text(json.dumps(failed))
    found = find_runs([tmp_path / "sweep"])
    assert [run.seed for run in found.runs] == [1, 2]
    assert found.unfinished == {"seed=3 flow=blindharmony": "too large"}


def test_a_method_that_harms_is_counted_as_harm(tmp_path):
    rows = [row for row in made_up_rows(1) if row.metric == "psnr"]
    worse = [Row(r.method, r.domain, r.subject, r.metric, 10.0) if r.method == "blindharmony" and r.subject == "sub-2"
             else r for r in rows]  # fmt: skip
    comparison = compare(find_runs([run_folder(tmp_path, rows=worse)]).runs)
    assert comparison.tests[Entry("blindharmony", 0), "gamma_0.7", "psnr"].against.harmed == 1


def test_other_settings_stand_side_by_side_and_other_data_are_refused(sweep, tmp_path):
    other = run_folder(tmp_path, 1, "method.blindharmony.solver.iterations=20", name="seed1-other")
    comparison = compare(find_runs([sweep, other]).runs)
    assert [group.label for group in comparison.groups] == [
        "blindharmony.solver.iterations=10", "blindharmony.solver.iterations=20",
    ]  # fmt: skip
    report_page([sweep, other], tmp_path / "both.html")
    assert "blindharmony (blindharmony.solver.iterations=20)" in (tmp_path / "both.html").read_text()
    smaller = run_folder(tmp_path, 1, "data.source.subjects=9", name="seed1-smaller")
    with pytest.raises(ConfigError, match=r"different data.*data\.source\.subjects"):
        compare(find_runs([sweep, smaller]).runs)
    with pytest.raises(ConfigError, match="same seed twice"):
        compare(find_runs([sweep, run_folder(tmp_path, 1, name="seed1-again")]).runs)


def test_the_page_of_a_domain_without_truth_compares_with_the_input(tmp_path):
    rows = [Row(r.method, "ms", r.subject, r.metric, r.value) for r in made_up_rows(1)
            if r.domain == "gamma_0.7" and r.metric in ("bpd", "seconds")]  # fmt: skip
    real = "+data.real.ms={source: {subjects: 3}, paired: false}"
    run = run_folder(tmp_path, 1, real, "data.query=[ms]", rows=rows)
    query, _, outcomes = images(1)
    keep(run, "ms", "sub-1", query, None, outcomes, shown=2, panels=True)
    assert set(read_panels(run, "ms")["sub-1"]) == {"query", *METHODS[1:]}
    assert read_brain(run, "ms", "sub-1").tolist() == query.mask[2, 0].T.flip(0).int().tolist()
    assert set(read_histograms(run, "ms")) == {"query", *METHODS[1:]}
    shown = imread(read_panels(run, "ms")["sub-1"]["query"])[..., 0]
    np.testing.assert_allclose(shown, query.image[2, 0].T.flip(0), atol=1 / 255)
    report_page([run], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "minus input" in page
    assert "minus truth" not in page
    assert 'data-left="truth"' not in page
    assert "PSNR dB" not in page.split("<h2>What was run</h2>")[0]
    assert "ms is a scanner of its own" in page
    assert "without truth" in page
    assert "were simulated" not in page


def test_the_words_about_a_run_do_not_set_it_apart():
    before = OmegaConf.to_container(config(), resolve=True)
    after = OmegaConf.to_container(config("method.blindharmony.says=otherwise"), resolve=True)
    assert before != after
    assert settings_of(before) == settings_of(after)


def test_alike_is_not_best(tmp_path):
    rows = [Row(method, "exp", "sub-1", "negatives", 0.0) for method in METHODS]
    comparison = compare(find_runs([run_folder(tmp_path, rows=rows)]).runs)
    assert comparison.best("exp", "negatives") == []


def test_a_subject_that_one_seed_lacks_is_left_out_and_named(tmp_path):
    run_folder(tmp_path, 1)
    rows = [r for r in made_up_rows(2) if not (r.subject == "sub-3" and r.method == "blindharmony")]
    run_folder(tmp_path, 2, rows=[*rows, Row("none", "gamma_0.7", "sub-1", "hd95", float("nan"))])
    comparison = compare(find_runs([tmp_path / "made_up"]).runs)
    assert comparison.cells[Entry("blindharmony", 0), "gamma_0.7", "psnr"].interval.subjects == 2
    missing = " | ".join(comparison.missing())
    assert "blindharmony on gamma_0.7, psnr: no value in every seed for sub-3" in missing
    assert "none on gamma_0.7, hd95: no value in every seed for sub-1" in missing


def test_the_page_holds_everything_and_loads_nothing(page):
    assert "made_up: harmonization of MNI152 atlas, deformed copies" in page
    for wanted in ("flow/val_bpd 2.819", "569,540 parameters", "sub-broken", "seed3-0123abcd", "warp factor",
                   "HD95 wm", "BlindHarmony", "10 iterations", "Wilcoxon", "Holm", "made up; outcome: adapted",
                   "torch 2."):  # fmt: skip
        assert wanted in page, wanted
    loaded = re.findall(r"(?:src|href|action|data-truth)=\"([^\"]*)\"|url\(([^)]*)\)|@import", page)
    assert {a[:5] for a, _ in loaded if a and not a.startswith("#")} == {"data:"}
    assert "[@" not in page


def test_an_older_run_folder_still_gives_a_page_that_says_what_is_absent(sweep, tmp_path):
    old = tmp_path / "old" / "seed1-0123abcd"
    old.mkdir(parents=True)
    for name in ("results.csv", "config.yaml"):
        shutil.copy(sweep / "seed1-0123abcd" / name, old / name)
    report_page([old], old / "report.html")
    page = (old / "report.html").read_text()
    for absent in ("no image panels", "no intensity histograms", "no environment.json", "no summary.json"):
        assert absent in page
    assert "20.1" in page


@pytest.mark.parametrize("case", ["absent", "empty", "not a run", "garbage"])
def test_a_folder_that_is_no_run_is_one_clear_error(tmp_path, case):
    folder = tmp_path / "folder"
    if case != "absent":
        folder.mkdir()
    if case == "not a run":
        (folder / "model.safetensors").touch()
    if case == "garbage":
        (folder / "results.csv").write_text("a,b\n1,2\n")
        (folder / "config.yaml").write_text("[1, 2")
    with pytest.raises((DataError, DamagedError), match=str(folder)):
        report_page([folder], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_command_takes_folders_and_says_where_the_page_is(sweep, tmp_path):
    def report(*words):
        return Program("harmony.report", words, cwd=tmp_path, env=os.environ, merged=False).finish()

    done = report(sweep, f"output={tmp_path / 'p.html'}")
    assert done.returncode == 0
    assert done.stdout.strip().endswith("p.html")
    assert (tmp_path / "p.html").exists()
    failed = report(tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1


def test_what_is_kept_is_what_was_scored(tmp_path):
    run = run_folder(tmp_path)
    query, truth, outcomes = images(1)
    counts = read_histograms(run, "gamma_0.7")
    assert set(counts) == {"query", "truth", *METHODS[1:]}
    assert all(count.sum() == 3 * int(truth.mask.sum()) for count in counts.values())
    centre = (np.arange(64) + 0.5) / 64
    assert np.average(centre, weights=counts["query"]) == pytest.approx(float(query.image[truth.mask].mean()), abs=0.01)
    panels = read_panels(run, "gamma_0.7")
    assert list(panels) == ["sub-1"]
    shown = imread(panels["sub-1"]["blindharmony"])[..., 0]
    wanted = outcomes["blindharmony"].image[1, 0].T.flip(0).numpy()
    np.testing.assert_allclose(shown, wanted, atol=0.5 / 255 + 1e-6)
    assert read_traces(run, "gamma_0.7")["sub-1"]["blindharmony"]["bpd"] == [3.0, 3.0]
    assert not list(run.rglob(".tmp*"))


def test_the_difference_is_black_where_equal_and_coloured_by_its_sign(tmp_path):
    run = run_folder(tmp_path)
    images = read_panels(run, "gamma_0.7")["sub-1"]
    for a, b, colour in (("query", "truth", BELOW), ("truth", "query", ABOVE)):
        png = tmp_path / "d.png"
        png.write_bytes(difference(images[a], images[b]))
        shown, change = imread(png)[..., :3], imread(images[a])[..., 0] - imread(images[b])[..., 0]
        np.testing.assert_allclose(shown, np.abs(change).clip(0, 0.3)[..., None] / 0.3 * colour, atol=0.005)
        assert (shown[change == 0] == 0).all()


@pytest.mark.parametrize("family", ["method", "judge", "tasks"])
def test_every_member_of_a_family_says_what_it_is_with_its_numbers(family):
    for name, node in OmegaConf.to_container(config(), resolve=True)[family].items():
        text = words(node["network"] if name == "flow" else node)
        assert "_target_" not in text
        assert "$" not in text
        assert len(text) > 10, name
        if "solver" in node:
            assert f"{node['solver']['iterations']} iterations" in text


@pytest.mark.parametrize("guidance", ["harmonizing_flows", "ranked"])
def test_a_guided_flow_says_by_what_it_was_guided(guidance, tmp_path):
    """Before, a run under ranked guidance ended without its page: the optimizer of its walk has no rate of its own."""
    run = EvaluatedRun.load(run_folder(tmp_path, 1, f"+guidance@tasks.flow.module.guided={guidance}"))
    networks = next(text for text in methods_text(compare([run])) if text.startswith("Networks"))
    flow = networks.split(" Harmonizer")[0]
    assert run.config["tasks"]["flow"]["module"]["guided"]["says"] in flow
    assert flow.count("Adam") == 1


DATA = {path.stem for path in (CONF / "data").glob("*.yaml")}


@pytest.mark.parametrize("name", sorted(DATA - {"preprocess"}))
def test_every_data_set_says_what_it_is(name):
    assert config(f"data={name}").data.says


def test_an_override_changes_the_words():
    changed = config("method.blindharmony.solver.iterations=20").method.blindharmony
    assert "20 iterations" in words(OmegaConf.to_container(changed, resolve=True))


def test_an_older_run_is_told_by_what_it_built_and_its_numbers():
    node = {"_target_": "harmony.methods.Ssimh", "_partial_": True, "cutoff": 1.2}
    assert words(node) == "Ssimh (cutoff 1.2)"
    assert words(node | {"says": "swaps ", "cites": ["guan2022", "ho2019"]}) == "swaps [@guan2022; @ho2019]"


def test_the_networks_of_steps_and_judges_are_among_those_used(tmp_path):
    names = {"blindharmony": "hm_harmonizing_flows"}
    rows = [
        replace(row, method=names.get(row.method, row.method))
        for row in made_up_rows(1)
        if row.method in ("none", "blindharmony")
    ]
    words = ("methods=[none,hm_harmonizing_flows]", "evaluation.judges=[bigaug,tent]")
    path = run_folder(tmp_path, 1, *words, rows=rows)
    run = EvaluatedRun.load(path)
    assert run.stages == ["flow", "harmonizer", "segmenter", "segmenter_bigaug"]
    text = " ".join(methods_text(compare([run])))
    assert "Segmenter bigaug: " in text
    assert "[@wang2021]" in text
    assert text.count("[@zhang2020]") == 1


def test_every_citation_has_its_reference_and_every_reference_is_cited():
    said = [str(text) for text in (*(metric.meaning for metric in RESULTS.values()), *SCANNERS.values(), WORDS_SOURCE)]
    keys = {key for text in said for match in CITED.findall(text) for key in re.findall(r"@(\w+)", match)}
    files = (path.read_text() for path in CONF.rglob("*.yaml"))
    keys |= {key for text in files for line in re.findall(r"cites: \[(.*)\]", text) for key in line.split(", ")}
    assert keys == references().keys()


def test_citations_are_numbered_in_their_order():
    paragraphs, found = cite(["A [@wang2004; @holm1979] & b [@wang2004]."])
    assert found == [references()["wang2004"], references()["holm1979"]]
    assert re.sub(r"<[^>]+>", "", paragraphs[0]) == "A [1, 2] &amp; b [1]."


def test_a_reference_is_written_as_papers_write_it():
    assert references()["kingma2015"] == (
        "Kingma D. P., Ba J. Adam: A method for stochastic optimization. ICLR 2015, arXiv 1412.6980."
    )
    assert references()["dice1945"].endswith("Ecology 26(3):297-302, 1945.")
    assert references()["dimartino2014"].startswith("Di Martino A. et al. ")


def test_a_run_that_was_stopped_is_named(tmp_path):
    run_folder(tmp_path, 1)
    stopped = run_folder(tmp_path, 2)
    (stopped / "DONE").unlink()
    report_page([tmp_path / "made_up"], tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().count("was stopped before its end") == 1


def test_no_two_methods_look_alike():
    entries = [Entry("none", 0), *(Entry(f"method{k}", 0) for k in range(16))]
    view = View(SimpleNamespace(entries=entries))
    styles = [view.style(entry) for entry in entries]
    assert len(set(styles)) == len(entries)
    assert {style.split()[0] for style in styles} == {"query", *(f"c{k}" for k in range(7))}  # those of the style sheet


def test_names_from_files_are_text_on_the_page(tmp_path):
    rows = [Row("none", "<script>alert(1)</script>", "sub-<b>", "psnr", 20.0),
            Row("<i>x</i>", "<script>alert(1)</script>", "sub-<b>", "psnr", 21.0)]  # fmt: skip
    with pytest.raises(DataError, match="results of <i>x</i>"):
        report_page([run_folder(tmp_path / "method", rows=rows)], tmp_path / "report.html")
    path = run_folder(tmp_path, rows=rows[:1])
    report_page([path], path / "report.html")
    page = (path / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<i>x" not in page
    assert "sub-<b>" not in page
