"""Bars on a terminal, one line in a file."""

import io
import logging
import sys
from functools import cache, partial

from rich.console import Console

from harmony.core import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def walk():
    done = []
    for scan in progress.watched(["a", "b"], "scans"):
        with progress.within("slices", 4) as told:
            told(3)
            told(1)
        done.append(scan)
    return done


def test_a_scan_has_a_bar_of_its_own_below_that_of_all(monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_terminal", cache(partial(Console, stderr=True)))
    assert walk() == ["a", "b"]
    assert "scans" in terminal.getvalue()
    assert "slices" in terminal.getvalue()


def test_a_file_gets_one_line(caplog, capsys):
    with caplog.at_level(logging.INFO):
        assert walk() == ["a", "b"]
    assert caplog.messages == ["scans: 2"]
    assert not capsys.readouterr().err
