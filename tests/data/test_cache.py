"""Found again, never stale, never half-read."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from phantoms import phantom, preprocess, save, scan_of

from harmony.core import DataError, Volume
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
    return Counting(**{"spacing": 2.0, "axis": "axial", "size": (32, 32), "percentile": 99.5})


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
