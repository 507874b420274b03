"""Files appear whole, with the mode that the user's umask says, and beside those of other processes."""

import errno
import multiprocessing
import os
import resource

import pytest
import torch
from safetensors.torch import save_file

from harmony.core import StorageError
from harmony.core.files import atomic_path, remove_leftovers, write_atomic


@pytest.fixture(params=[0o077, 0o022, 0o002])
def umask(request):
    former = os.umask(request.param)
    yield request.param
    os.umask(former)


def mode(path):
    return path.stat().st_mode & 0o777


def test_files_and_folders_honour_the_umask_whatever_writes_them(umask, tmp_path):
    write_atomic(tmp_path / "a" / "b" / "x.txt", "x")
    with atomic_path(tmp_path / "a" / "b" / "x.safetensors") as temporary:
        save_file({"x": torch.zeros(2)}, temporary)  # writes a file of its own, and renames it
    for path in (tmp_path / "a").rglob("*"):
        assert mode(path) == (0o777 if path.is_dir() else 0o666) & ~umask, path


def _hold(path, begun, end):
    with atomic_path(path) as temporary:
        temporary.write_text("slow")
        begun.set()
        end.wait(20)


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    path = tmp_path / "scan.nii.gz"
    fork = multiprocessing.get_context("fork")
    living, dead = [(fork.Event(), fork.Event()) for _ in range(2)]
    slow, killed = (fork.Process(target=_hold, args=(path, *events)) for events in (living, dead))
    for process, (begun, _) in ((slow, living), (killed, dead)):
        process.start()
        assert begun.wait(20)
    killed.kill()
    killed.join(20)
    assert len(list(tmp_path.glob(".tmp-*"))) == 2
    remove_leftovers(path)
    assert len(list(tmp_path.glob(".tmp-*"))) == 1
    living[1].set()
    slow.join(20)
    assert slow.exitcode == 0
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("scan.nii.gz", "slow")]


def test_a_temporary_file_taken_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    from harmony.core import files

    taken = []

    def late(handle, flags=0):
        if not taken:
            taken.extend(tmp_path.glob(".tmp-*"))
            taken[0].unlink()
        return True

    monkeypatch.setattr(files, "_locked", late)
    write_atomic(tmp_path / "x.txt", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
    assert taken


@pytest.fixture
def full(monkeypatch):
    """No file may grow beyond 4 kB: what a full disk is like for whatever writes."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, former[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, former)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("x" * 100_000),
        lambda path: save_file({"x": torch.zeros(100_000)}, path),
        lambda path: torch.save({"x": torch.zeros(100_000)}, path),
    ],
    ids=["text", "safetensors", "checkpoint"],
)
def test_a_full_disk_is_one_line_and_what_was_there_stays(write, full, tmp_path):
    path = tmp_path / "x"
    path.write_text("before")
    with pytest.raises(StorageError, match=r"/x: .*the same command goes on"), atomic_path(path) as temporary:
        write(temporary)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x", "before")]


def test_a_folder_that_is_a_file_and_a_disk_that_is_read_only_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/x: "):
        write_atomic(tmp_path / "file" / "x", "x")

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="Read-only file system"):
        write_atomic(tmp_path / "x", "x")


def test_a_mistake_of_the_one_who_writes_is_not_the_disks(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "x"):
        _ = 1 / 0
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "x"):
        (tmp_path / "none").read_text()
    with pytest.raises(RuntimeError, match="shape"), atomic_path(tmp_path / "x"):
        raise RuntimeError("shape")
