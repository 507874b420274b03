"""One process at a time: a lock is seen by others, is waited for, and is gone when its holder is."""

import signal
import threading

import pytest

from harmony.core import interrupts
from harmony.core.locks import claim


def test_a_held_lock_is_refused_or_waited_for(tmp_path):
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


def test_waiting_can_be_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(interrupts, "_received", [signal.SIGTERM])
    with (
        claim(tmp_path / "lock", wait=False),
        pytest.raises(interrupts.Interrupted),
        claim(tmp_path / "lock", wait=True),
    ):
        pass
