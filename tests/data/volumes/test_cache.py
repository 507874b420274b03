"""Found again, never stale, never half-read."""

from __future__ import annotations

import logging
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from phantoms import phantom, preprocess, save, scan_of

from harmony.core import DataError, Scan, Volume
from harmony.data import Preprocess, VolumeCache, load_volumes


def same(a: Volume, b: Volume) -> bool:
    tensors = torch.equal(a.image, b.image) and torch.equal(a.mask, b.mask) and torch.equal(a.labels, b.labels)
    return tensors and np.array_equal(a.affine, b.affine) and a.scale == b.scale and a.image.dtype == b.image.dtype


class Counting(Preprocess):
    calls = 0

    def __call__(self, scan):
        self.calls += 1
        return super().__call__(scan)


@pytest.fixture
def prepare():
    settings = {"spacing": 2.0, "axis": "axial", "size": (32, 32), "percentile": 99.5, "only_plausible": False}
    return Counting(**settings)


def test_a_stored_volume_is_the_same_and_is_not_built_again(prepare, tmp_path):
    scan = scan_of(tmp_path)
    cache = VolumeCache(tmp_path / "cache", prepare)
    first, second = cache.get(scan), cache.get(replace(scan, age=12.0))
    assert prepare.calls == 1
    assert same(first, second)
    assert same(first, preprocess()(scan))
    assert (first.scan.age, second.scan.age) == (50.0, 12.0)
    assert VolumeCache(tmp_path / "cache", prepare).get(replace(scan, labels=None)).labels is None
    assert prepare.calls == 2


@pytest.mark.parametrize("changed", ["image", "labels", "time", "setting"])
def test_a_change_is_noticed(changed, prepare, tmp_path):
    scan = scan_of(tmp_path)
    cache = VolumeCache(tmp_path / "cache", prepare)
    before = cache.get(scan)
    data, labels = phantom()
    if changed == "image":
        save(scan.path, data * 3)
    elif changed == "labels":
        save(scan.labels, labels * 2)
    elif changed == "time":
        os.utime(scan.path, ns=(1, 1))
    else:
        cache = VolumeCache(tmp_path / "cache", preprocess(percentile=90.0))
    after = cache.get(scan)
    assert same(after, cache.preprocess(scan))
    assert same(after, before) == (changed == "time")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_lesions_are_kept_and_enter_the_key_where_there_are_any(prepare, tmp_path):
    scan = scan_of(tmp_path)
    cache = VolumeCache(tmp_path / "cache", prepare)
    assert cache.get(scan).lesions is None
    marked = replace(scan, lesions=save(tmp_path / "lesions.nii.gz", phantom()[1] == 3, dtype=np.uint8))
    first, second = cache.get(marked), cache.get(marked)
    assert prepare.calls == 2
    assert torch.equal(first.lesions, second.lesions)
    assert torch.equal(second.lesions, second.labels == 3)
    save(marked.lesions, phantom()[1] == 2, dtype=np.uint8)
    assert torch.equal(cache.get(marked).lesions, second.labels == 2)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "flipped", "no metadata"])
def test_a_damaged_entry_is_built_again(damage, prepare, tmp_path, caplog):
    scan = scan_of(tmp_path)
    cache = VolumeCache(tmp_path / "cache", prepare)
    good = preprocess()(scan)
    cache.get(scan)  # not kept: a volume is a view of its entry, which this test writes into
    entry = next((tmp_path / "cache").iterdir())
    raw = bytearray(entry.read_bytes())
    flipped = raw.copy()
    flipped[-5000] ^= 255
    contents = {
        "truncated": raw[: len(raw) // 2],
        "empty": b"",
        "garbage": b"x" * 5000,
        "flipped": flipped,
        "no metadata": (2).to_bytes(8, "little") + b"{}",
    }
    entry.write_bytes(contents[damage])
    with caplog.at_level(logging.WARNING):
        assert same(cache.get(scan), good)
    assert "damaged cache entry" in caplog.text
    assert prepare.calls == 2
    cache.get(scan)
    assert prepare.calls == 2


def test_two_at_once_leave_one_whole_entry(tmp_path):
    scan = scan_of(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        volumes = list(pool.map(lambda _: VolumeCache(tmp_path / "cache", preprocess()).get(scan), range(8)))
    assert all(same(volume, volumes[0]) for volume in volumes)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_every_scan_that_failed_is_named_at_once(tmp_path, caplog):
    scans = [scan_of(tmp_path, f"sub-{k}") for k in range(4)]
    cache = VolumeCache(tmp_path / "cache", preprocess())
    with caplog.at_level(logging.INFO):
        assert [v.scan.subject for v in load_volumes(scans, cache, "train scans")] == [f"sub-{k}" for k in range(4)]
    assert "train scans: 4" in caplog.text
    scans[1].path.unlink()
    with pytest.raises(DataError, match=r"sub-1.*no such file"):
        load_volumes(scans, cache, "train scans")
    scans[3].path.write_bytes(b"broken")
    with pytest.raises(DataError, match=r"(?s)2 scans.*sub-1.*sub-3"):
        load_volumes(scans, cache, "train scans")


def build(folder: Path, start, queue) -> None:
    torch.set_num_threads(1)
    scan = scan_of(folder / "own" / str(os.getpid()))  # only to have the libraries warm when both start
    preprocess()(scan)
    shared = Scan(folder / "sub-01_T1w.nii.gz", "sub-01", labels=folder / "sub-01_dseg.nii.gz")
    cache = VolumeCache(folder / "cache", preprocess())
    start.wait(180)
    for _ in range(15):
        volume = cache.get(shared)
        queue.put((float(volume.image.double().sum()), int(volume.labels.sum()), volume.scale))
        for entry in (folder / "cache").glob("sub-01-*"):
            entry.unlink(missing_ok=True)  # so that both write it again and again, at once


def test_two_processes_writing_one_entry_at_once(tmp_path):
    expected = preprocess()(scan_of(tmp_path))
    context = multiprocessing.get_context("forkserver")  # the libraries are imported once for both
    context.set_forkserver_preload(["harmony.data"])
    start, queue = context.Barrier(2), context.Queue()
    workers = [context.Process(target=build, args=(tmp_path, start, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=180) for _ in range(30)]
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert set(found) == {(float(expected.image.double().sum()), int(expected.labels.sum()), expected.scale)}
    assert not [entry for entry in (tmp_path / "cache").iterdir() if entry.name.startswith(".tmp")]


def test_a_volume_is_a_view_of_its_entry_and_writing_to_it_does_not_reach_the_entry(prepare, tmp_path):
    """Hundreds of volumes must not be hundreds of copies in memory; built now or found, they are mapped."""
    scan = scan_of(tmp_path)
    cache = VolumeCache(tmp_path / "cache", prepare)
    for volume in (cache.get(scan), cache.get(scan)):
        entry = next((tmp_path / "cache").iterdir())
        at = volume.image.data_ptr()
        maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(entry) in line]
        assert any(int(a, 16) <= at < int(b, 16) for a, b in (line[0].split("-") for line in maps))
        volume.image.zero_()
    assert same(cache.get(scan), preprocess()(scan))
    assert prepare.calls == 1


def test_bad_scans_are_left_out_and_named_on_request(tmp_path, caplog):
    scans = [scan_of(tmp_path, f"sub-{k}") for k in range(4)]
    scans[1].path.unlink()
    scans[3].path.write_bytes(b"broken")
    cache = VolumeCache(tmp_path / "cache", preprocess())
    left = load_volumes(scans, cache, "train scans", skip_bad=True)
    assert [volume.scan.subject for volume in left] == ["sub-0", "sub-2"]
    assert all(words in caplog.text for words in ("2 bad scans left out", "[sub-1]", "[sub-3]", "not a NIfTI"))
    with pytest.raises(DataError, match="2 scans cannot be used"):
        load_volumes([scans[1], scans[3]], cache, "train scans", skip_bad=True)


@pytest.mark.parametrize("kind", ["scale", "type"])
def test_a_flipped_bit_in_the_header_of_an_entry_is_noticed(kind, prepare, tmp_path):
    """The scale and the types decide a volume as much as its voxels do."""
    scan = scan_of(tmp_path)
    cache = VolumeCache(tmp_path / "cache", prepare)
    before = cache.get(scan)
    (entry,) = (tmp_path / "cache").glob("*.safetensors")
    raw = entry.read_bytes()
    at = raw.index(b"scale") + 9 if kind == "scale" else raw.index(b'"F32"') + 1
    entry.write_bytes(raw[:at] + {"scale": bytes([raw[at] ^ 1]), "type": b"I"}[kind] + raw[at + 1 :])
    assert same(before, cache.get(scan))
    assert prepare.calls == 2


def test_a_scan_that_was_taken_anyway_is_still_refused_where_only_plausible_ones_are_asked_for(prepare, tmp_path):
    scan = scan_of(tmp_path)
    VolumeCache(tmp_path / "cache", prepare).get(scan)
    with pytest.raises(DataError, match=r"a brain of 65\.9 ml"):
        VolumeCache(tmp_path / "cache", preprocess(only_plausible=True)).get(scan)
