"""A stranger's experiment file starts nothing, writes nowhere else, and says no number that cannot be used."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harmony import app, harmonize, train
from harmony.app import shell
from harmony.app.launch import refuse_other_types, refuse_strange
from harmony.core import ConfigError

ROOT = Path(__file__).parents[2]
LOAD = "{_target_: numpy.load, _args_: [x.npy], allow_pickle: true}"


@pytest.fixture(scope="module")
def composed():
    """As Hydra has it before it builds anything: with its own settings."""
    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        slurm = ["hydra/launcher=slurm", "hydra.launcher.partition=gpu", "seed=2"]
        return compose("config", overrides=slurm, return_hydra_config=True)


def merged(composed, text):
    """What a config file with this text would make of it, without the types of Hydra's own launchers and sweepers."""
    return OmegaConf.merge(OmegaConf.create(OmegaConf.to_container(composed, resolve=False)), OmegaConf.create(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"hydra: {{callbacks: {{sweep: {LOAD}}}}}", r"hydra\.callbacks\.sweep"),
        (f"hydra: {{callbacks: {{another: {LOAD}}}}}", r"hydra\.callbacks\.another"),
        ("hydra: {launcher: {_target_: os.system}}", r"hydra\.launcher\._target_=os\.system"),
        (f"hydra: {{sweeper: {{sampler: {LOAD}}}}}", r"hydra\.sweeper\.sampler\._target_=numpy\.load"),
        ("evil: os.system\nhydra: {sweeper: {n: '${evil}'}}", r"hydra\.sweeper\.n=.*plain"),
        ("hydra: {sweeper: {params: {experiment: ../../x}}}", r"experiment=\.\./\.\./x"),
        ("hydra: {sweeper: {params: {+hydra.job.chdir: 'true'}}}", r"hydra\.job\.chdir.*sweep over"),
        ("hydra: {sweeper: {params: {runs: /elsewhere}}}", r"runs.*sweep over"),
        ("hydra: {sweeper: {custom_search_space: os.system}}", r"custom_search_space=os\.system"),
        ("hydra: {launcher: {setup: [touch /tmp/x]}}", r"hydra\.launcher\.setup"),
        ('hydra: {launcher: {partition: "gpu\\ntouch x"}}', r"hydra\.launcher\.partition: more than one line"),
        ("hydra: {launcher: {submitit_folder: /elsewhere}}", r"submitit_folder=/elsewhere"),
        ("hydra: {run: {dir: ../..}}", r"hydra\.run\.dir=\.\./\.\."),
        ("hydra: {sweep: {dir: /elsewhere}}", r"hydra\.sweep\.dir=/elsewhere"),
        ("hydra: {sweep: {subdir: ../..}}", r"hydra\.sweep\.subdir"),
        ("hydra: {output_subdir: ../../x}", r"hydra\.output_subdir"),
        ("hydra: {job: {chdir: true}}", r"hydra\.job\.chdir=True"),
        ("hydra: {job: {env_set: {LD_PRELOAD: x.so}}}", r"hydra\.job\.env_set\.LD_PRELOAD"),
        ("hydra: {searchpath: [/elsewhere]}", r"hydra\.searchpath"),
        ("hydra: {job_logging: {handlers: {f: {class: logging.FileHandler, filename: x}}}}", r"hydra\.job_logging"),
        ("hydra: {hydra_logging: {filters: {f: {'()': os.system}}}}", r"hydra\.hydra_logging"),
        ("runs: /elsewhere", r"runs=/elsewhere"),
        ("cache: /elsewhere", r"cache=/elsewhere"),
        ("data: {cache: '${cache}/../x'}", r"data\.cache=.*not below cache"),
        ("data: {source: {folder: /elsewhere}}", r"data\.source\.folder=/elsewhere"),
        ("data: {real: {A: {source: {folder: /elsewhere}}}}", r"data\.real\.A\.source\.folder=/elsewhere"),
        ("logger: {settings: {base_url: 'http://elsewhere'}}", r"logger\.settings"),
    ],
)
def test_what_hydra_would_obey_is_refused_in_a_config_file(composed, text, words):
    with pytest.raises(ConfigError, match=words):
        refuse_strange(merged(composed, text), "config", [])


def test_the_command_line_may_say_where_and_with_what(composed):
    refuse_strange(composed, "config", [])
    text = "{runs: /mine, hydra: {sweep: {dir: /mine}, launcher: {setup: [module load cuda]}}}"
    refuse_strange(merged(composed, text), "config", ["runs", "hydra.sweep.dir", "hydra.launcher.setup"])


def test_a_strangers_experiment_is_stopped_before_hydra_builds_any_of_it(tmp_path, monkeypatch, capsys):
    """The attack itself: numpy.load of a pickle that writes a file, as a callback."""

    class Touch:
        def __reduce__(self):
            return Path.touch, (tmp_path / "owned",)

    np.save(tmp_path / "x.npy", np.array([Touch()], dtype=object), allow_pickle=True)
    conf = tmp_path / "conf"
    conf.mkdir()
    evil = LOAD.replace("x.npy", str(tmp_path / "x.npy"))
    (conf / "config.yaml").write_text(f"a: 1\nhydra: {{callbacks: {{sweep: {evil}}}}}\n")
    monkeypatch.setattr("harmony.app.shell.conf_folder", lambda: str(conf))
    monkeypatch.setattr(sys, "argv", ["train"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        train.main()
    assert stop.value.code == 2
    assert "error: hydra.callbacks" in capsys.readouterr().err
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(("words", "composed_times"), [([], 1), (["hydra.mode=RUN"], 2)])
def test_a_run_composes_its_config_once_and_no_file_makes_it_a_sweep(words, composed_times, tmp_path, monkeypatch):
    """Which of run and sweep it is, the words say: `-m`, or hydra.mode itself, for which Hydra composes it all."""
    conf, seen, looked_at = tmp_path / "conf", [], []
    conf.mkdir()
    (conf / "dashboard.yaml").write_text("sections: 1\nhydra: {mode: MULTIRUN}\n")
    monkeypatch.setattr("harmony.app.shell.conf_folder", lambda: str(conf))
    monkeypatch.setattr("harmony.app.launch.refuse_strange", lambda cfg, *_: looked_at.append(cfg))
    monkeypatch.setattr(sys, "argv", ["dashboard", *words])
    monkeypatch.chdir(tmp_path)
    shell.entry_point(seen.append, "dashboard")()
    assert [cfg.sections for cfg in seen] == [1]
    assert len(looked_at) == composed_times


@pytest.mark.parametrize("name", ["../../escape", "/elsewhere", "a/b", "", ".hidden", "a b\nc"])
def test_a_name_stays_in_its_folder(composed, name):
    cfg = copy.deepcopy(composed)
    cfg.name = name
    with pytest.raises(ConfigError, match="name="):
        app.refuse_impossible(cfg)
    cfg = merged(composed, {"data": {"real": {name: {"source": {}, "paired": False}}}})
    with pytest.raises(ConfigError, match=r"data\.real="):
        app.refuse_impossible(cfg)


@pytest.mark.parametrize(
    ("module", "words", "said"),
    [
        (harmonize, [], "input= must be said"),
        (train, ["name=${nothing}"], "name: Interpolation key 'nothing' not found"),
    ],
)
def test_what_is_missing_is_named_in_one_line(module, words, said, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", [module.__name__, *words])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        module.main()
    assert (stop.value.code, capsys.readouterr().err) == (2, f"error: {said}\n")


@pytest.mark.parametrize(
    "key", ["data", "data.real", "data.source", "tasks", "tasks.flow", "method", "method.none", "trainer", "evaluation"]
)
@pytest.mark.parametrize("value", [5, None, "x", [1]])
def test_one_value_in_place_of_many_is_one_clear_error(composed, key, value):
    cfg = copy.deepcopy(composed)
    OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    with pytest.raises(ConfigError, match=rf"^{key}=.*: one value in place of a group"):
        refuse_strange(cfg, "config", [key])


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (1, "abc", False), (1, True, False), (1.0, 2, True), (1, 0.5, True), (1, None, True), (1, "${a}", True),
        (False, "yes", False), (False, 1, False), (True, False, True), ([1], 3, False), ([1], [2], True),
        ([1], None, True), (None, "abc", True), ("a", 3, True), ({"a": 1}, 0.1, True),
    ],
)  # fmt: skip
def test_an_override_keeps_the_kind_of_what_it_overrides(before, after, allowed):
    if allowed:
        return refuse_other_types("key", before, after)
    with pytest.raises(ConfigError, match=r"^key="):
        refuse_other_types("key", before, after)


def test_a_command_with_a_number_that_is_none_ends_in_one_line(monkeypatch, capsys, tmp_path):
    word = "method.blindharmony.solver.iterations=x"
    monkeypatch.setattr(sys, "argv", ["train", word])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        train.main()
    err = capsys.readouterr().err
    assert (stop.value.code, err.count("\n"), list(tmp_path.iterdir())) == (2, 1, [])
    assert err.startswith(f"error: {word}: not a number")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", -1), ("seed", 1.5), ("data.step", 0), ("data.count", 0), ("data.split_seed", "a"),
        ("data.preprocess.spacing", -2), ("data.preprocess.spacing", float("nan")), ("data.preprocess.percentile", 0),
        ("data.preprocess.size", [0, 80]), ("data.preprocess.size", [80]), ("flow.levels", "two"), ("flow.levels", 0),
        ("tasks.flow.max_steps", 0), ("tasks.age.batch_size", 0), ("tasks.unet.val_every", 0),
        ("evaluation.subjects", 0), ("evaluation.subjects", "all"), ("evaluation.part", "tset"),
        ("data.shares.train", 0.9), ("data.shares.train", -0.1), ("data.shares.val", "a"),
    ],
)  # fmt: skip
def test_a_number_that_cannot_be_used_is_refused_before_anything_is_done(composed, key, value):
    cfg = copy.deepcopy(composed)
    OmegaConf.update(cfg, key, value)
    with pytest.raises(ConfigError, match=r"data\.shares=" if "shares" in key else rf"{key}="):
        app.refuse_impossible(cfg)


def test_shares_are_of_the_three_parts_and_somebody_is_trained_on(composed):
    for shares in ({"train": 1.0}, {"train": 0.0, "val": 0.5, "test": 0.5}):
        cfg = copy.deepcopy(composed)
        cfg.data.shares = shares
        with pytest.raises(ConfigError, match=r"data\.shares="):
            app.refuse_impossible(cfg)
