"""What people type becomes Hydra's words: exactly, and with the nearest name where a word is misspelt."""

import subprocess
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from harmony.cli import configs
from harmony.cli.bids import bids_words
from harmony.cli.commands import COMMANDS
from harmony.cli.mistakes import UsageError
from harmony.cli.words import literal, quoted, translate

STRANGE = [
    "/a b/ü,[x]{y}(z)=1/é.nii",
    "it's",
    'say "hi"',
    "back\\slash",
    "end\\",
    'a\\"b',
    "${oc.env:HOME}",
    "\\${y}",
    "C:\\x\\",
    "  lead ",
    "null",
    "1e3",
    "%$#@!;&|*?",
]


def words(name, *typed):
    return translate(name, COMMANDS[name], list(typed))


def read(word):
    """What Hydra and OmegaConf make of `key=value`."""
    found = OverridesParser.create().parse_override(word)
    cfg = OmegaConf.create({})
    OmegaConf.update(cfg, found.key_or_group, found.value())
    return cfg


@pytest.mark.parametrize("text", STRANGE)
def test_quoted_text_is_read_back_exactly(text):
    assert read(f"input={quoted(text)}").input == text


@pytest.mark.parametrize(
    ("key", "typed", "meant"),
    [
        ("data.root", "/data/a,b [1]/ü", "/data/a,b [1]/ü"),
        ("data.labels", "der/{subject}/*_dseg.nii.gz", "der/{subject}/*_dseg.nii.gz"),
        ("data.title", "two words", "two words"),
        ("data.title", "site=A", "site=A"),
        ("seed", "2", 2),
        ("methods", "[none,nyul]", ["none", "nyul"]),
        ("mask", "null", None),
        ("mask", "auto", "auto"),
        ("tasks.flow.module.optimizer.lr", "5e-4", 5e-4),
        ("data.root", "'/quoted/as before'", "/quoted/as before"),
        ("data.root", "../up here", "../up here"),
    ],
)
def test_a_value_means_what_it_says(key, typed, meant):
    assert OmegaConf.select(read(f"{key}={literal(key, typed)}"), key) == meant


def test_a_sweep_stays_a_sweep():
    assert literal("data.root", "/a,/b", sweep=True) == "/a,/b"
    assert words("train", "quickstart", "-m", "seed=1,2") == ["experiment=quickstart", "-m", "seed=1,2"]


def test_words_stand_in_their_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.nii").touch()
    assert words("harmonize", "a=b.nii", "out", "--method", "nyul", "--skip-bad") == [
        'input="a=b.nii"',
        'output="out"',
        "method=nyul",
        "skip_bad=true",
    ]
    assert (
        words("harmonize", "--mask=auto", "output=out", "a=b.nii", "method.solver.iterations=3")[0] == 'input="a=b.nii"'
    )
    assert words("check", str(tmp_path), "--json") == ["data=bids", f'data.root="{tmp_path}"', "--json"]
    assert words("check", str(tmp_path), "data=ixi") == [f'data.root="{tmp_path}"', "data=ixi"]
    assert words("evaluate", "quickstart", "--methods", "none,nyul")[1] == "methods=[none,nyul]"
    assert words("train", "--cfg", "job", "+new.key=1", "~data.title", "hydra/launcher=slurm") == [
        *("--cfg", "job", "+new.key=1", "~data.title", "hydra/launcher=slurm")
    ]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--original-scale", "false"], "original_scale=false"),
        (["--original-scale=false"], "original_scale=false"),
        (["--original-scale"], "original_scale=true"),
        (["--only-plausible", "False"], "only_plausible=false"),
        (["--only-plausible=false"], "only_plausible=false"),
        (["--skip-bad", "--bits-per-dim"], "skip_bad=true"),
        (["--skip-bad", "true"], "skip_bad=true"),
        (["--participants", "01,1e3"], 'participants=["01","1e3"]'),
        (["--sessions=ses-A"], 'sessions=["ses-A"]'),
        (["--sessions", "null"], "sessions=null"),
    ],
)
def test_a_switch_is_set_with_and_without_a_word(typed, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.nii").touch()
    for line in (["a.nii", "out", *typed], [*typed, "a.nii", "out"]):
        found = words("harmonize", *line)
        assert found[:2] == ['input="a.nii"', 'output="out"']
        assert meant in found


def test_several_scans_are_one_list_and_the_last_word_is_where_they_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.nii", "b, c.nii", "d.nii"):
        (tmp_path / name).touch()
    assert words("harmonize", "a.nii", "b, c.nii", "d.nii", "out", "--seed", "2") == [
        'input=["a.nii","b, c.nii","d.nii"]',
        'output="out"',
        "seed=2",
    ]
    assert read(words("harmonize", "a.nii", "b, c.nii", "out")[0]).input == ["a.nii", "b, c.nii"]
    assert words("harmonize", "a.nii", "d.nii", "output=out")[0] == 'input=["a.nii","d.nii"]'
    with pytest.raises(UsageError, match="OUTPUT must be said"):
        words("harmonize", "a.nii")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["harmonize", ".", "o", "--metod", "none"], "mean --method?"),
        (["harmonize", ".", "o", "--method", "hist_matching"], "mean histogram_matching?"),
        (["harmonize", ".", "o", "method=blindharmny"], "mean blindharmony?"),
        (["harmonize", ".", "o", "method.solver.iteration=3"], "mean method.solver.iterations?"),
        (["harmonize", ".", "o", "skip_bat=true"], "mean skip_bad?"),
        (["harmonize", "."], "OUTPUT must be said"),
        (["harmonize"], "INPUT and OUTPUT must be said"),
        (["harmonize", ".", "o", "p"], "o: no such file"),
        (["harmonize", "link.nii", "o"], "link.nii: a link to gone.nii, which is not there"),
        (["train", "quickstart", "p"], "'p': a word too many"),
        (["harmonize", ".", "o", "--model"], "a value must follow"),
        (["harmonize", "here.ni", "o"], "mean here.nii in"),
        (["harmonize", "no/such/folder", "o"], "no such file or folder"),
        (["train", "quikstart"], "mean quickstart?"),
        (["train", "quickstart", "-m", "experiment=quickstart,ixi_nfs"], "mean ixi_nsf?"),
        (["train", "flow=splin"], "mean spline?"),
        (["check", ".", "data=ixi_h"], "mean ixi_hh?"),
        (["harmonize", ".", "o", "--method", "n4_hist_matching"], "mean n4_histogram_matching?"),
        (["train", "tasks.harmonizer_grey.network.grey_level=true"], "mean tasks.harmonizer_grey.network.grey_levels?"),
        (["train", "tasks.flow.max_step=3"], "mean tasks.flow.max_steps?"),
        (["check", "nowhere"], "no such file or folder"),
        (["check", "x" * 300], "no such file or folder"),
        (["harmonize", ".", "o", f"sed={'x' * 300}"], "mean seed?"),
        (["check", ".", "--jsn"], "mean --json?"),
    ],
)
def test_a_slip_is_named_with_what_was_meant(typed, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.nii").touch()
    (tmp_path / "link.nii").symlink_to("gone.nii")
    with pytest.raises(UsageError) as caught:
        words(*typed)
    assert said in str(caught.value)


def test_bids_labels_are_text_and_the_rest_goes_through(tmp_path):
    typed = [str(tmp_path), "o", "participant", "--participant_label", "01", "sub-1e3", "--n-procs", "4"]
    made = bids_words([*typed, "--method", "nyul", "--", "seed=3"])
    cfg = OmegaConf.merge(*(read(word) for word in made if not word.startswith("method=")))
    assert cfg == {"input": str(tmp_path), "output": "o", "workers": 4, "participants": ["01", "sub-1e3"], "seed": 3}
    assert "method=nyul" in made
    with pytest.raises(UsageError, match="group"):
        bids_words([str(tmp_path), "o", "group"])


def test_every_setting_has_an_explanation():
    silent = [setting.name for setting in configs.settings("harmonize") if not setting.text and "." not in setting.name]
    assert not silent


def test_light_modules_stay_light():
    """Help must not wait for torch."""
    code = "import sys; sys.argv = ['harmony', 'harmonize', '--help']\nfrom harmony.cli import main\ntry: main()\n"
    code += "except SystemExit: pass\nheavy = {'torch', 'numpy', 'hydra', 'omegaconf', 'nibabel'} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print(heavy or 'light')"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "light"


def test_the_home_of_nobody_is_a_path_that_is_not_there():
    with pytest.raises(UsageError, match="~0: no such file or folder"):
        translate("harmonize", COMMANDS["harmonize"], ["~0", "out"])
