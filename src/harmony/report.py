"""The page of evaluated runs: python -m harmony.report RUN_OR_SWEEP... [output=FILE]

One self-contained HTML file from run folders alone. Runs of one configuration are pooled over their seeds; runs of
several configurations on the same data stand side by side. The page lies in the first folder, as report.html, unless
output= says where.

python -m harmony.report --records README.md... makes the tables of records anew from the rows beside them.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from harmony.core import HarmonyError
from harmony.reports import refresh, report_page


def main() -> None:
    parser = argparse.ArgumentParser("python -m harmony.report", description=__doc__.split("\n\n")[1])
    parser.add_argument(
        "words", nargs="+", metavar="RUN_OR_SWEEP", help="folders; output=FILE says where the page goes"
    )
    parser.add_argument("--records", action="store_true", help="READMEs, whose tables are made anew from their rows")
    asked = parser.parse_args()
    words: list[str] = asked.words
    if asked.records:
        return _ending(lambda: records([Path(word) for word in words]))
    folders = [Path(word).expanduser() for word in words if not word.startswith("output=")]
    named = [Path(word.removeprefix("output=")).expanduser() for word in words if word.startswith("output=")]
    if not folders:
        parser.error("which run, or folder of runs?")
    output = named[-1] if named else folders[0] / "report.html"
    _ending(lambda: report_page(folders, output))
    print(f"page of {len(folders)} folder{'s' * (len(folders) > 1)}: {output}")


def records(paths: Sequence[Path]) -> None:
    changed = [str(path) for path in paths if refresh(path, families)]
    print(f"records: {len(paths)} read, changed: {', '.join(changed) or 'none'}")


@functools.cache
def families() -> Mapping[str, Mapping[str, Any]]:
    """Methods and judges, with their words."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from harmony import app

    with initialize_config_dir(app.conf_folder(), version_base="1.3"):
        cfg = compose("config")
    return {family: cast("Any", OmegaConf.to_container(cfg[family], resolve=True)) for family in ("method", "judge")}


def _ending(work: Callable[[], None]) -> None:
    try:
        work()
    except HarmonyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
