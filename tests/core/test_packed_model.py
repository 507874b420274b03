"""One file to pass on: it gives back what was packed, and a stranger's file can do nothing but be refused."""

import hashlib
import json
import os
import warnings
import zipfile
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import save_file

from harmony.core import CheckpointError
from harmony.core.model_card import ModelCard, sha256
from harmony.core.models import named_models, resolve_model
from harmony.core.packed_model import About, pack, read_manifest, unpack

GRID = {"spacing": 2.0, "axis": "axial", "size": [32, 32], "version": 1}
ABOUT = About("scanner", "CC BY-SA 3.0", "IXI", ["harmony train x"])
CORRUPTION = {"_target_": "x", "gain": 0.2}
PEOPLE = {"subjects": 7, "scanners": ["Trio"], "sites": [], "ages": [20.0, 60.0]}


def run_folder(path, stage, **changes):
    path.mkdir(parents=True)
    save_file({"weight": torch.arange(4.0)}, path / "model.safetensors")
    beside = "reference" if stage == "flow" else "prior"  # what a training learns beside the weights
    save_file({"mean": torch.zeros(2)}, path / f"{beside}.safetensors")
    config = {"data": {"root": "/home/somebody"}, "seed": 1, "tasks": {stage: {"network": {"_target_": "x"}}, "b": 1}}
    config["tasks"][stage] |= {"module": {"corruption": CORRUPTION}} if stage == "harmonizer" else {}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    (path / "DONE").touch()
    score, weights = {f"{stage}/val": 3.0}, sha256(path / "model.safetensors")
    replace(ModelCard(path.name, "0", GRID, PEOPLE, score, weights), **changes).save(path)
    return path


@pytest.fixture
def runs(tmp_path):
    models = tmp_path / "runs" / "models"
    return {
        "flow": run_folder(models / "flow-1", "flow"),
        "harmonizer": run_folder(models / "harmonizer-2", "harmonizer"),
    }


@pytest.fixture
def packed(runs, tmp_path):
    path = tmp_path / "x.harmony"
    pack(path, runs, ABOUT, methods=["none", "harmonizer"])
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path, content, **how):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", how.get("kind", zipfile.ZIP_STORED)) as archive:
        warnings.simplefilter("ignore")  # of the same name twice
        for name, data in content:
            archive.writestr(name, data)
    return path


def test_what_is_packed_comes_out_as_it_was(runs, packed, tmp_path):
    found = unpack(packed, tmp_path / "cache")
    assert list(found) == ["flow", "harmonizer"]
    for stage, folder in found.items():
        assert (folder / "model.safetensors").read_bytes() == (runs[stage] / "model.safetensors").read_bytes()
        assert ModelCard.load(folder).score == ModelCard.load(runs[stage]).score
        assert set(yaml.safe_load((folder / "config.yaml").read_text())["tasks"]) == {stage}
    for stage, beside in (("flow", "reference"), ("harmonizer", "prior")):
        files = sorted(path.name for path in found[stage].glob("*.safetensors"))
        assert files == ["model.safetensors", f"{beside}.safetensors"]
        assert list(ModelCard.load(found[stage]).files) == [f"{beside}.safetensors", "config.yaml"]


def test_the_manifest_says_what_it_is_and_no_folder_of_anybody(packed):
    about = read_manifest(packed)
    assert (about.contrast, about.voxel_mm, about.licence) == ("T1w", 2.0, "CC BY-SA 3.0")
    assert about.methods == ["harmonizer", "none"]
    assert about.training["ages"] == [20.0, 60.0]
    assert about.training["score"] == {"flow/val": 3.0, "harmonizer/val": 3.0}
    assert (about.name, about.scans, about.commands) == ("scanner", "IXI", ["harmony train x"])
    assert about.ranges == {"harmonizer": {"gain": 0.2}}
    assert about.stages == ["flow", "harmonizer"]
    assert b"somebody" not in packed.read_bytes()


def test_the_same_model_is_the_same_file(runs, packed, tmp_path):
    again = tmp_path / "again.harmony"
    pack(again, runs, ABOUT, methods=["harmonizer", "none"])
    assert again.read_bytes() == packed.read_bytes()


@pytest.mark.parametrize("change", [{"contrast": "T2w"}, {"preprocess": GRID | {"spacing": 1.0}}])
def test_networks_of_other_scans_are_not_packed_together(runs, tmp_path, change):
    other = run_folder(tmp_path / "other", "harmonizer", **change)
    with pytest.raises(CheckpointError, match="other scans"):
        pack(tmp_path / "x.harmony", runs | {"harmonizer": other}, ABOUT, methods=[])
    assert not (tmp_path / "x.harmony").exists()


def test_an_unfinished_run_is_not_packed(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(CheckpointError, match="not a finished training"):
        pack(tmp_path / "x.harmony", {"flow": tmp_path / "run"}, ABOUT, methods=[])


def test_every_flipped_byte_of_a_member_is_noticed(packed, tmp_path):
    """Wherever it lies: in weights, card, config or manifest."""
    whole = packed.read_bytes()
    found = unpack(packed, tmp_path / "cache")
    for info in zipfile.ZipFile(packed).infolist():
        data = bytearray(whole)
        data[info.header_offset + 30 + len(info.filename) + info.file_size // 2] ^= 4
        packed.write_bytes(data)
        with pytest.raises(CheckpointError):
            unpack(packed, tmp_path / "other")
    assert all(folder.exists() for folder in found.values())
    assert not list((tmp_path / "other").glob("[!.]*"))


def hostile(content):
    """Name -> members of an archive that must be refused."""
    manifest = json.loads(content["manifest.json"])

    def claiming(member, data=b"x", **changes):
        files = manifest["files"] | {member: hashlib.sha256(data).hexdigest()}
        rest = {key: value for key, value in content.items() if key != "manifest.json"}
        return {"manifest.json": json.dumps(manifest | {"files": files} | changes).encode(), **rest, member: data}

    return {
        "climbs out": claiming("../../evil.json"),
        "absolute": claiming("/tmp/evil.json"),
        "climbs inside": claiming("flow/../../evil.json"),
        "backslash": claiming("flow\\..\\evil.json"),
        "pickle": claiming("flow/model.ckpt"),
        "code": claiming("flow/run.py"),
        "hidden": claiming("flow/.profile"),
        "deep": claiming("flow/a/b.json"),
        "other content than its digest": content | {"flow/config.json": b'{"a": 1}'},
        "not named": content | {"flow/extra.json": b"{}"},
        "named, not there": {key: value for key, value in content.items() if not key.endswith("config.json")},
        "name of a folder elsewhere": claiming("flow/a.json", name="../../evil"),
        "hidden name": claiming("flow/a.json", name=".ssh"),
        "another format": claiming("flow/a.json", format=2),
        "asks the environment": claiming("flow/config.json", b'{"a": "${oc.env:HOME}"}'),
        "asks in disguise": claiming("flow/config.json", b'{"a": "\\u0024{oc.env:HOME}"}'),
        "asks in YAML": claiming("flow/config.json", b"a: ${oc.env:HOME}"),
        "YAML": claiming("flow/config.yaml", b"{}"),
        "no manifest": {key: value for key, value in content.items() if key != "manifest.json"},
        "manifest of another kind": content | {"manifest.json": b"[1]"},
        "manifest of no use": content | {"manifest.json": b"{}"},
    }


KINDS = list(hostile({"manifest.json": b'{"files": {}}', "flow/config.json": b""}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_archive_is_refused_and_writes_nothing(kind, packed, tmp_path):
    path = rewritten(tmp_path / "bad.harmony", hostile(members(packed))[kind].items())
    before = {each for each in tmp_path.rglob("*") if "cache" not in each.parts}
    with pytest.raises(CheckpointError, match=r"bad\.harmony"):
        unpack(path, tmp_path / "cache")
    assert before == {each for each in tmp_path.rglob("*") if "cache" not in each.parts}
    assert not list((tmp_path / "cache").glob("**/*"))


def test_compressed_members_are_refused_before_they_are_read(packed, tmp_path):
    bomb = {"flow/model.safetensors": bytes(50_000_000)}
    path = rewritten(tmp_path / "b.harmony", (members(packed) | bomb).items(), kind=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 500_000
    with pytest.raises(CheckpointError, match="a member is compressed"):
        unpack(path, tmp_path / "cache")


def test_a_member_twice_is_refused(packed, tmp_path):
    content = [*members(packed).items(), ("flow/config.json", b"{}")]
    with pytest.raises(CheckpointError, match="not those of its manifest"):
        unpack(rewritten(tmp_path / "b.harmony", content), tmp_path / "cache")


@pytest.mark.parametrize(("at", "value"), [(6, 99), (8, 1)])
def test_a_zip_of_a_later_version_or_an_encrypted_one_is_one_clear_error(packed, tmp_path, at, value):
    """A byte of the first entry of the zip's directory: version needed, flags."""
    data = bytearray(packed.read_bytes())
    data[data.index(b"PK\x01\x02") + at] = value
    packed.write_bytes(data)
    with pytest.raises(CheckpointError, match="copy it again"):
        unpack(packed, tmp_path / "cache")


@pytest.mark.parametrize("cut", [0, 10, 1000])
def test_half_a_file_and_no_zip_are_one_clear_error(packed, tmp_path, cut):
    packed.write_bytes(packed.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match="not a packed model"):
        unpack(packed, tmp_path / "cache")


def test_a_damaged_copy_in_the_cache_is_made_again(packed, tmp_path):
    weights = unpack(packed, tmp_path / "cache")["flow"] / "model.safetensors"
    made = weights.stat().st_mtime_ns
    unpack(packed, tmp_path / "cache")
    assert weights.stat().st_mtime_ns == made
    good = weights.read_bytes()
    weights.write_bytes(b"other")
    unpack(packed, tmp_path / "cache")
    assert weights.read_bytes() == good
    assert not list((tmp_path / "cache").glob(".tmp-*"))


def test_a_model_is_found_by_path_by_name_or_alone(runs, packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package, where = tmp_path / "package", {"runs": tmp_path / "runs", "cache": tmp_path / "cache"}
    package.mkdir()
    assert resolve_model(str(runs["flow"]), package=package, **where).home == runs["flow"]
    assert resolve_model("flow-1", package=package, **where).home == runs["flow"]
    with pytest.raises(CheckpointError, match="no model is installed"):
        resolve_model(None, package=package, **where)
    os.rename(packed, package / "scanner.harmony")
    assert set(named_models(where["runs"], package)) == {"scanner", "flow-1"}
    alone, named = (resolve_model(given, package=package, **where) for given in (None, "scanner"))
    assert alone == named
    assert alone.name == "scanner"
    assert set(alone.stages) == {"flow", "harmonizer"}
    with pytest.raises(CheckpointError, match="did you mean scanner"):
        resolve_model("scaner", package=package, **where)
    (package / "second.harmony").write_bytes((package / "scanner.harmony").read_bytes())
    with pytest.raises(CheckpointError, match="scanner, second"):
        resolve_model(None, package=package, **where)


def test_the_package_brings_a_model_that_says_where_it_is_from(tmp_path):
    (path,) = named_models(runs=tmp_path).values()
    assert path.stat().st_size <= 10_000_000
    about = read_manifest(path)
    assert about.name == path.stem == "ixi-hh"
    assert (about.licence, about.contrast, about.voxel_mm) == ("CC BY-SA 3.0", "T1w", 2.0)
    assert "IXI" in about.scans
    assert about.commands
    assert {"noise", "blur", "gain", "shading"} <= set(about.ranges["tissue"])
    assert {"histogram_matching", "scanner_inversion"} <= set(about.methods)
    folders = resolve_model(None, runs=tmp_path, cache=tmp_path)  # every digest is checked
    assert set(folders.stages) == {"flow", "tissue"}
