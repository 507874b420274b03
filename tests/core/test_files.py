"""Files appear whole, with the mode that the user's umask says, and beside those of other processes."""

import multiprocessing
import os

import pytest
import torch
from safetensors.torch import save_file

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
