"""A file that is no longer what was written is noticed; what an older version wrote is taken as before."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harmony.core import CheckpointError, DamagedError, Row, read_rows, write_rows
from harmony.core.curves import add_to_curves, read_curves
from harmony.core.digests import (
    check_contents,
    check_seal,
    damaged_contents,
    intact,
    intact_document,
    read_sealed,
    read_yaml,
    seal,
    write_sealed,
    write_with_seal,
)
from harmony.core.model_card import ModelCard, sha256
from harmony.core.runs import RunFolder


def run_folder(path):
    path.mkdir()
    save_file({"w": torch.randn(20)}, path / "model.safetensors")
    save_file({"mean": torch.randn(20)}, path / "reference.safetensors")
    (path / "config.yaml").write_text("flow: {levels: 3}\n")
    card = ModelCard(
        "flow-1", "0", {"spacing": 4.0}, {"subjects": 3}, {"flow/val_bpd": 3.25}, sha256(path / "model.safetensors")
    )
    card.save(path)
    return card


def flips(path, count):
    """The file with one bit flipped, again and again; at last as it was."""
    raw, random = path.read_bytes(), np.random.default_rng(len(path.name))
    for at in random.integers(0, len(raw), count).tolist():
        changed = bytearray(raw)
        changed[at] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        yield
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["model.safetensors", "reference.safetensors", "config.yaml", "model_card.json"])
def test_no_flipped_bit_of_a_model_folder_goes_unnoticed(name, tmp_path):
    card = run_folder(tmp_path / "run")
    whole = ModelCard.load(tmp_path / "run")
    assert whole.preprocess == card.preprocess
    assert set(whole.files) == {"reference.safetensors", "config.yaml"}
    noticed = 0
    for _ in flips(tmp_path / "run" / name, 60):
        try:
            assert ModelCard.load(tmp_path / "run") == whole  # a space may become another
        except CheckpointError:
            noticed += 1
    assert noticed == 60 if name != "model_card.json" else noticed > 50
    ModelCard.verify(tmp_path / "run")


def test_a_card_of_an_older_version_vouches_for_the_weights(tmp_path):
    run_folder(tmp_path / "run")
    path = tmp_path / "run" / "model_card.json"
    old = {k: v for k, v in json.loads(path.read_text()).items() if k not in ("files", "digest")}
    path.write_text(json.dumps(old))
    (tmp_path / "run" / "config.yaml").write_text("another: 1\n")
    assert ModelCard.load(tmp_path / "run").files == {}
    (tmp_path / "run" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="not the weights"):
        ModelCard.verify(tmp_path / "run")


def test_a_missing_file_of_the_card_is_one_clear_error(tmp_path):
    run_folder(tmp_path / "run")
    (tmp_path / "run" / "reference.safetensors").unlink()
    with pytest.raises(CheckpointError, match="not a finished training"):
        ModelCard.load(tmp_path / "run")


def test_a_folder_without_a_card_is_not_vouched_for(tmp_path):
    ModelCard.verify(tmp_path)
    with pytest.raises(CheckpointError, match=r"model_card\.json"):
        ModelCard.load(tmp_path)


def test_a_changed_summary_is_noticed(tmp_path):
    run = RunFolder(tmp_path)
    run.finish({"score": 3.25, "subjects": {"train": 7}})
    assert run.summary() == {"score": 3.25, "subjects": {"train": 7}}
    path = tmp_path / "summary.json"
    path.write_text(path.read_text().replace("3.25", "2.25"))
    with pytest.raises(DamagedError, match=r"summary\.json"):
        run.summary()
    path.write_text('{"score": 2.5}')
    assert run.summary() == {"score": 2.5}


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff", '"x"'])
def test_a_document_that_is_none_is_one_clear_error(text, tmp_path):
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedError, match=r"x\.json: damaged"):
        read_sealed(tmp_path / "x.json")


def test_values_survive_the_seal(tmp_path):
    values = {"a": [1, (2, 3)], "b": {"c": None, "d": 1e-300}, "e": "ü"}
    write_sealed(tmp_path / "x.json", values)
    assert read_sealed(tmp_path / "x.json") == json.loads(json.dumps(values))


def test_no_flipped_bit_of_a_table_of_results_goes_unnoticed(tmp_path):
    path, rows = tmp_path / "results.csv", [Row("blindharmony", "exp", f"sub-{k}", "psnr", 20.0 + k) for k in range(5)]
    write_rows(path, rows)
    for _ in flips(path, 100):
        assert not intact(path)
        with pytest.raises(DamagedError, match=r"results\.csv"):
            read_rows(path)
    assert intact(path)
    assert read_rows(path) == rows
    for _ in flips(tmp_path / "results.csv.sha256", 100):
        intact(path)  # a damaged seal may say so, and is never a traceback


def test_what_has_no_seal_is_taken_as_it_is_and_what_is_not_there_is_not_intact(tmp_path):
    (tmp_path / "old.csv").write_text("x")
    check_seal(tmp_path / "old.csv")
    assert intact(tmp_path / "old.csv")
    assert not intact(tmp_path / "none.csv")
    seal(tmp_path / "old.csv")
    (tmp_path / "old.csv").unlink()
    assert not intact(tmp_path / "old.csv")


def test_a_seal_is_never_that_of_a_former_content(tmp_path, monkeypatch):
    from harmony.core import digests

    write_with_seal(tmp_path / "x.csv", "one")
    monkeypatch.setattr(digests, "seal", lambda _: None)  # killed before it
    write_with_seal(tmp_path / "x.csv", "two")
    assert intact(tmp_path / "x.csv")


FILES = ("config.yaml", "results.csv", "parts/exp-a.csv", "adaptation/x.json", "panels/exp/a/none.png")


@pytest.fixture
def done(tmp_path):
    """A finished evaluation; its log goes on being written."""
    run = RunFolder(tmp_path / "run")
    run.begin("seed: 1\n")
    for name in (*FILES[1:], "log/metrics.csv"):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text(f"what {name} says")
    run.finish({"score": 1.0})
    return run


def test_what_a_finished_run_holds_is_vouched_for_but_its_log(done):
    assert done.reusable()
    (done.path / "log" / "metrics.csv").write_text("more")
    (done.path / "report.html").write_text("made later")
    check_contents(done.path)
    assert done.reusable()


@pytest.mark.parametrize("name", [*FILES, "environment.json", "contents.json"])
def test_a_damaged_file_of_a_finished_run_is_named_and_made_again(name, done, capsys):
    raw = bytearray((done.path / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (done.path / name).write_bytes(raw)
    with pytest.raises(DamagedError, match=name.split("/")[-1]):
        check_contents(done.path)
    assert not done.reusable()
    assert name in capsys.readouterr().out
    assert not done.done
    remade = name in ("config.yaml", "results.csv", "environment.json")
    assert (done.path / "parts").exists() == remade  # its parts decide it, and are whole


def test_a_missing_or_damaged_summary_makes_a_run_begin_again(done):
    (done.path / "results.csv").unlink()
    assert damaged_contents(done.path) == ["results.csv"]
    done.finish({"score": 1.0})
    (done.path / "summary.json").unlink()
    with pytest.raises(DamagedError, match="missing"):
        done.summary()
    assert not done.reusable()


def test_a_run_of_an_older_version_has_no_contents_and_is_taken(done):
    (done.path / "contents.json").unlink()
    (done.path / "results.csv").write_text("changed")
    assert done.reusable()


def test_no_flipped_bit_of_training_curves_goes_unnoticed(tmp_path):
    path = tmp_path / "curves.csv"
    for step in (3, 6):
        add_to_curves(path, step, {"flow/val_bpd": 1 / step})
    for _ in flips(path, 60):
        with pytest.raises(DamagedError, match=r"curves\.csv"):
            read_curves(path)
    assert read_curves(path)["flow/val_bpd"] == [(3, 1 / 3), (6, 1 / 6)]
    for text in (b"step,metric\n1,a\n", b"step,metric,value\n1,a,x\n", b"\xff"):
        (tmp_path / "old.csv").write_bytes(text)
        with pytest.raises(DamagedError, match=r"old\.csv"):
            read_curves(tmp_path / "old.csv")


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"a: [", b"a: \x00"])
def test_a_config_that_is_no_text_or_no_yaml_is_one_clear_error(raw, tmp_path):
    (tmp_path / "config.yaml").write_bytes(raw)
    with pytest.raises(DamagedError, match=r"config\.yaml: damaged: not YAML"):
        read_yaml(tmp_path / "config.yaml")


def test_a_record_of_an_adaptation_is_whole_or_made_again(tmp_path):
    path = tmp_path / "adaptation.json"
    assert not intact_document(path)
    write_sealed(path, {"kept": 3, "trajectory": [[1.0, float("nan")]]})
    assert intact_document(path)
    path.write_text(path.read_text().replace("3", "4"))
    assert not intact_document(path)


@pytest.mark.parametrize("raw", [b"\x80", b"method,domain,subject,scan,metric,value\na,b,c,d,e,\xff\n"])
def test_a_table_of_results_that_is_no_text_is_one_clear_error(raw, tmp_path):
    (tmp_path / "rows.csv").write_bytes(raw)
    with pytest.raises(DamagedError, match=r"rows\.csv: damaged: not a table"):
        read_rows(tmp_path / "rows.csv")
