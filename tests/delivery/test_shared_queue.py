"""Several processes on one list: no item twice, none lost, not even those of a process that was killed."""

import multiprocessing
import os
import signal
import sys
import time

import pytest

from harmony.core import interrupts
from harmony.delivery.shared_queue import helpers, in_turn

ITEMS = [f"scan{k:02d}" for k in range(20)]

FORK = multiprocessing.get_context("fork")  # at once: a fresh process imports for seconds


def work(folder, seconds):
    """What one process does: an item takes a moment and leaves a file; what is there already is left alone."""
    for item in in_turn(ITEMS, lambda item: folder / ".locks" / f"{item}.lock", "working"):
        if (folder / item).exists():
            continue
        note(folder / "begun", item)
        time.sleep(seconds)
        note(folder / "done", item)
        (folder / item).write_text(item)


def note(path, item):
    with path.open("a") as log:
        log.write(f"{item} {os.getpid()}\n")


def start(folder, seconds=0.05):
    process = FORK.Process(target=work, args=(folder, seconds))
    process.start()
    return process


def ended(process):
    process.join(120)
    return process.exitcode


def lines(path):
    return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("count", [2, 4])
def test_no_item_twice_and_none_lost(count, tmp_path):
    processes = [start(tmp_path) for _ in range(count)]
    assert [ended(process) for process in processes] == [0] * count
    done = lines(tmp_path / "done")
    assert sorted(item for item, _ in done) == ITEMS
    assert {path.name: path.read_text() for path in tmp_path.glob("scan*")} == {item: item for item in ITEMS}


def test_the_others_finish_what_a_killed_process_had_in_hand(tmp_path):
    victim = start(tmp_path, seconds=600)
    while not lines(tmp_path / "begun"):
        time.sleep(0.05)
    ((item, _),) = lines(tmp_path / "begun")
    others = [start(tmp_path) for _ in range(2)]
    while len(lines(tmp_path / "done")) < len(ITEMS) - 1:  # all but the one in the victim's hand
        time.sleep(0.05)
    time.sleep(0.5)
    assert item not in {name for name, _ in lines(tmp_path / "done")}
    victim.kill()
    assert [ended(process) for process in others] == [0, 0]
    done = lines(tmp_path / "done")
    assert sorted(name for name, _ in done) == ITEMS
    assert dict(done)[item] in {str(process.pid) for process in others}


def test_one_process_takes_the_items_in_their_order(tmp_path):
    assert list(in_turn(ITEMS, lambda item: tmp_path / item, "working")) == ITEMS


def test_waiting_for_another_can_be_interrupted(tmp_path, monkeypatch):
    """The item is held by another open file of this process, which the kernel tells apart as it does processes."""
    first = in_turn(["a"], lambda item: tmp_path / item, "working")
    assert next(first) == "a"
    monkeypatch.setattr(interrupts, "_received", [signal.SIGTERM])
    with pytest.raises(interrupts.Interrupted):
        list(in_turn(["a"], lambda item: tmp_path / item, "working"))


def test_helpers_are_waited_for_and_stopped_where_the_block_fails(tmp_path, capfd):
    write = "import time, sys, pathlib; time.sleep(float(sys.argv[1])); pathlib.Path(sys.argv[2]).touch()"
    with helpers([sys.executable, "-c", write, "0.2", str(tmp_path / "made")], 2, 0):
        pass
    assert (tmp_path / "made").exists()
    begin = time.monotonic()
    with pytest.raises(ZeroDivisionError), helpers([sys.executable, "-c", write, "60", str(tmp_path / "never")], 1, 0):
        raise ZeroDivisionError
    assert time.monotonic() - begin < 30
    assert not (tmp_path / "never").exists()
    assert not capfd.readouterr().err


@pytest.mark.parametrize(("end", "said"), [("sys.exit('no room')", "no room"), ("os.kill(os.getpid(), 9)", "SIGKILL")])
def test_what_ended_a_helper_is_said(end, said, capfd):
    with helpers([sys.executable, "-c", f"import os, sys; {end}"], 1, 0):
        pass
    assert said in capfd.readouterr().err


def test_processes_share_the_cores(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    tell = f"import os, pathlib; pathlib.Path({str(tmp_path / 'n')!r}).write_text(os.environ['OMP_NUM_THREADS'])"
    with helpers([sys.executable, "-c", tell], 3, 0):
        pass
    assert (tmp_path / "n").read_text() == "2"
