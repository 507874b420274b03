"""The command `harmony`, and `python -m harmony`, which is the same."""

from __future__ import annotations

from harmony.cli import main

if __name__ == "__main__":
    main()
