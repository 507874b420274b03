"""The page of evaluated runs: python -m harmony.report RUN_OR_SWEEP... [output=FILE]

One self-contained HTML file from run folders alone. Runs of one configuration are pooled over their seeds; runs of
several configurations on the same data stand side by side. The page lies in the first folder, as report.html, unless
output= says where.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harmony.core import HarmonyError
from harmony.reports import report_page


def main() -> None:
    parser = argparse.ArgumentParser("python -m harmony.report", description=__doc__.split("\n\n")[1])
    parser.add_argument(
        "words", nargs="+", metavar="RUN_OR_SWEEP", help="folders; output=FILE says where the page goes"
    )
    words: list[str] = parser.parse_args().words
    folders = [Path(word).expanduser() for word in words if not word.startswith("output=")]
    named = [Path(word.removeprefix("output=")).expanduser() for word in words if word.startswith("output=")]
    if not folders:
        parser.error("which run, or folder of runs?")
    output = named[-1] if named else folders[0] / "report.html"
    try:
        report_page(folders, output)
    except HarmonyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"page of {len(folders)} folder{'s' * (len(folders) > 1)}: {output}")


if __name__ == "__main__":
    main()
