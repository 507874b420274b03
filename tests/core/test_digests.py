"""A file that is no longer what was written is noticed; what an older version wrote is taken as before."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harmony.core import CheckpointError, DamagedError, Row, read_rows, write_rows
from harmony.core.digests import check_seal, intact, read_sealed, seal, write_sealed, write_with_seal
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
