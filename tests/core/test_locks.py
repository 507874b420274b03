"""One process at a time: a lock is seen by others, is waited for, and is gone when its holder is."""

import errno
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from harmony.core import interrupts
from harmony.core.locks import claim

HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def another_process_holds(path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_held_lock_is_refused_or_waited_for(tmp_path, capsys):
    path = tmp_path / "run" / ".lock"
    order = []

    def second():
        with claim(path, wait=True) as mine:
            order.append(("second", mine))

    with claim(path, wait=False) as mine:
        assert mine
        with claim(path, wait=False) as other:
            assert not other
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        order.append(("first", True))
    waiting.join(10)
    assert order == [("first", True), ("second", True)]
    assert f"waiting for another process that works in {path.parent}" in capsys.readouterr().out


def test_a_refused_claim_leaves_the_lock_with_its_holder(tmp_path):
    with claim(tmp_path / "lock", wait=False):
        for _ in range(2):
            with claim(tmp_path / "lock", wait=False) as other:
                assert not other
    with claim(tmp_path / "lock", wait=False) as mine:
        assert mine


def test_a_killed_holder_leaves_nothing_behind(tmp_path):
    with another_process_holds(tmp_path / "lock") as process:
        with claim(tmp_path / "lock", wait=False) as mine:
            assert not mine
        process.send_signal(signal.SIGKILL)
        process.wait()
        with claim(tmp_path / "lock", wait=False) as mine:
            assert mine


def test_waiting_can_be_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(interrupts, "_received", [signal.SIGTERM])
    with (
        another_process_holds(tmp_path / "lock"),
        pytest.raises(interrupts.Interrupted),
        claim(tmp_path / "lock", wait=True),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_where_the_file_system_has_no_locks_everybody_may_work(number, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(number, "no locks here")

    monkeypatch.setattr("fcntl.flock", flock)
    for _ in range(2):
        with claim(tmp_path / "lock", wait=True) as mine:
            assert mine


def test_a_folder_that_cannot_be_written_is_not_a_missing_lock(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(OSError, match="lock"), claim(tmp_path / "lock", wait=False):
        pass
